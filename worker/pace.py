"""How fast each transfer of this process may go: limits of a job, a host and in total, kept by all.

A transfer counts its bytes on its `Pace` and reads there the rate it may have; both cost it nothing.
One thread a process looks at all of them four times a second, tells the store what this process demands
of each limited rate, and gets back what everybody demands: from both follows what is ours
(`worker.fair_share`). The processes need no leader, and none has to know the others.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Self

from cache.limit_models import Demand
from cache.transfer_limits import TransferLimits
from domain.errors import StoreUnavailableError
from domain.limits import TOTAL, host_scope, job_scope, plain_host
from worker.fair_share import FIRST_STEP, HUNGRY_FROM, growth, level, share

logger = logging.getLogger(__name__)

#: Ticks over which use is measured: bytes come in bursts.
WINDOW = 4
#: Ticks after which a transfer may count as satisfied; before, it has hardly begun.
GRACE = 2


class Pace:
    """One transfer's count of bytes, and the rate it may have. Used by one transfer thread.

    Attributes:
        rate: bytes a second it may take now, None for as fast as it can. Another thread sets it at any
            time: read it anew whenever you ask yourself how long to wait.
    """

    def __init__(self, job_id: str, host: str) -> None:
        self.job_id = job_id
        self.rate: float | None = None
        self.host = host
        self._job_scope = job_scope(job_id)
        self._bytes = 0
        #: (when, bytes until then, bytes it might have taken until then), the oldest first.
        self._marks: deque[tuple[float, int, float]] = deque(maxlen=WINDOW + 1)
        self._use = 0.0
        self._is_hungry = True
        #: The scope whose rate holds it back, if it is not its own slowness.
        self._held_by: str | None = None

    @property
    def host(self) -> str:
        """Where the bytes come from; set it when a redirect leads elsewhere."""
        return self._host

    @host.setter
    def host(self, host: str) -> None:
        self._host = plain_host(host)
        self._scopes = (TOTAL, host_scope(self._host))

    def count(self, size: int) -> None:
        """Add bytes that have come."""
        self._bytes += size

    # ── the pacer's side ────────────────────────────────────────────────────────────────────────

    def measure(self, now: float) -> None:
        """Note what has come since the last time, and judge whether its rate holds it back."""
        rate, size = self.rate, self._bytes
        if rate is None:
            self.forget()
            return
        might = 0.0
        if self._marks:
            when, _, before = self._marks[-1]
            might = before + rate * (now - when)
        self._marks.append((now, size, might))
        then, size_then, _ = self._marks[0]
        if now > then:
            self._use = (size - size_then) / (now - then)
        if len(self._marks) > GRACE:
            # The last tick by itself, too: one that moves again is to have its part at once.
            self._is_hungry = self._took_all_since(0) or self._took_all_since(-2)

    def _took_all_since(self, place: int) -> bool:
        _, size, might = self._marks[-1]
        _, size_then, might_then = self._marks[place]
        return size - size_then >= HUNGRY_FROM * (might - might_then)

    def forget(self) -> None:
        """It goes as fast as it can: what it would take under a limit is not known."""
        self._marks.clear()
        self._use, self._is_hungry, self._held_by = 0.0, True, None

    def is_hungry_for(self, scope: str) -> bool:
        """Say whether it would take more of this scope's rate, if it might."""
        return self._is_hungry and self._held_by in {None, scope}

    @property
    def use(self) -> float:
        """Bytes a second it has taken lately."""
        return self._use

    @property
    def scopes(self) -> tuple[str, ...]:
        """The scopes whose rates it shares with other transfers."""
        return self._scopes

    def allow(self, levels: Mapping[str, float], limits: Mapping[str, int]) -> None:
        """Set its rate to the least of what its scopes and its own job allow."""
        rate, held_by = math.inf, None
        for scope in self._scopes:
            if levels.get(scope, math.inf) < rate:
                rate, held_by = levels[scope], scope
        own = limits.get(self._job_scope, math.inf)
        if own < rate:
            rate, held_by = own, self._job_scope
        if held_by is None:
            if self.rate is not None:
                self.rate = None
            return
        if not self._is_hungry:
            rate = min(rate, growth(self._use))
        self.rate, self._held_by = rate, held_by


class Pacer:
    """Sets the pace of all transfers of this process.

    When the store does not answer, this process keeps the shares it had: what its transfers may take
    together does not grow. With no limit set anywhere the cost is one small read a tick.

    Args:
        limits: where limits are kept. Its client need not retry: the next tick does.
        worker: the name of this process among all.
        interval: seconds between two ticks while transfers run.
        defaults: limits that hold where the store has none, by scope.
    """

    def __init__(
        self,
        limits: TransferLimits,
        *,
        worker: str,
        interval: float = 0.25,
        defaults: Mapping[str, int] | None = None,
    ) -> None:
        self._limits = limits
        self._worker = worker
        self._interval = interval
        self._defaults = dict(defaults or {})
        self._mutex = threading.Lock()
        self._paces: set[Pace] = set()
        self._rates: Mapping[str, int] = self._defaults
        #: What this process may use of each limited scope, as of the last answer.
        self._shares: Mapping[str, float] = {}
        self._is_limiting = False
        #: Scopes in which our note stands in the store.
        self._noted: set[str] = set()
        self._busy = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._store_is_down = False

    def join(self, job_id: str, host: str) -> Pace:
        """Begin to pace one transfer. It takes from what this process has, until the next tick.

        Raises:
            InvalidInputError: `host` is no host.
        """
        pace = Pace(job_id, host)
        with self._mutex:
            self._paces.add(pace)
            self._spread()
            self._busy.set()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="pacer", daemon=True)
                self._thread.start()
        return pace

    def leave(self, pace: Pace) -> None:
        """Stop pacing a transfer; the next tick gives its part to others. Twice does no harm."""
        with self._mutex:
            self._paces.discard(pace)

    def tick(self) -> None:
        """Measure, tell, hear, and set every rate, once."""
        with self._mutex:
            paces = list(self._paces)
        now = time.monotonic()
        for pace in paces:
            pace.measure(now)
        try:
            rates = {**self._defaults, **self._limits.rates()}
            shares = self._agree(rates, paces)
        except StoreUnavailableError as error:
            if not self._store_is_down:
                logger.warning("Limits of rates stay as they are for now: %s", error)
            self._store_is_down = True
            with self._mutex:
                self._spread()
            return
        self._store_is_down = False
        with self._mutex:
            self._rates, self._shares = rates, shares
            self._spread()

    def close(self) -> None:
        """Stop the thread, and take our notes back so that others get our part at once."""
        self._closing.set()
        self._busy.set()
        if self._thread is not None:
            self._thread.join()
        with self._mutex:
            self._paces.clear()
        try:
            self._tell({})
        except StoreUnavailableError as error:
            logger.debug("Our demand of limited rates expires by itself: %s", error)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _run(self) -> None:
        while True:
            self._busy.wait()
            if self._closing.is_set():
                return
            try:
                self.tick()
            except Exception:
                # Without its thread this process would neither keep new limits nor lift old ones.
                logger.exception(
                    "The pace of transfers could not be set; the next tick tries again"
                )
            with self._mutex:
                if not self._paces and not self._noted:
                    self._busy.clear()
            self._closing.wait(self._interval)

    def _agree(self, rates: Mapping[str, int], paces: Sequence[Pace]) -> dict[str, float]:
        """Tell what we demand of each limited scope, and return what follows as our share."""
        demands = _demands(paces, rates)
        everybody = self._tell(demands)
        return {scope: share(rates[scope], own, everybody[scope]) for scope, own in demands.items()}

    def _tell(self, demands: Mapping[str, Demand]) -> dict[str, Demand]:
        taken_back = dict.fromkeys(self._noted - demands.keys(), Demand())
        everybody = self._limits.share_demands(self._worker, {**demands, **taken_back})
        self._noted = set(demands)
        return everybody

    def _spread(self) -> None:
        """Divide our shares among our transfers."""
        if not self._rates and not self._is_limiting:
            return
        self._is_limiting = bool(self._rates)
        levels = {
            scope: level(self._share_of(scope), demand)
            for scope, demand in _demands(self._paces, self._rates).items()
        }
        for pace in self._paces:
            pace.allow(levels, self._rates)

    def _share_of(self, scope: str) -> float:
        """What we may use of a scope; a first step where nobody has told us yet."""
        return self._shares.get(scope) or min(FIRST_STEP, self._rates[scope])


def _demands(paces: Iterable[Pace], rates: Mapping[str, int]) -> dict[str, Demand]:
    """Return what transfers demand of each limited scope that they share."""
    found: dict[str, list[Pace]] = defaultdict(list)
    for pace in paces:
        for scope in pace.scopes:
            if scope in rates:
                found[scope].append(pace)
    return {scope: _demand(scope, some) for scope, some in found.items()}


def _demand(scope: str, paces: Sequence[Pace]) -> Demand:
    hungry, satisfied, used = 0, 0.0, 0.0
    for pace in paces:
        used += pace.use
        if pace.is_hungry_for(scope):
            hungry += 1
        else:
            satisfied += pace.use
    return Demand(len(paces), hungry, round(satisfied), round(used))
