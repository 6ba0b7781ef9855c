"""Sets how fast the transfers of this process go: limits of a job, a host and in total, kept by all.

One thread a process looks at its transfers four times a second, tells the store what they demand of each
limited rate, and gets back what everybody demands: from both follows what is ours
(`worker.limits.max_min_fairness`). The processes need no leader, and none has to know the others.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from cache.coordination.limit_models import Demand
from cache.coordination.transfer_limits import TransferLimits
from domain.errors import StoreError
from worker.limits.max_min_fairness import fair_level, share
from worker.limits.transfer_rate import Pace, Share, demands_of, spread
from worker.outages import OutageLog

logger = logging.getLogger(__name__)

_AGREEING = "Limits of rates stay as they are"


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
        #: What this process has of each limited rate, as of the last answer.
        self._shares: Mapping[str, Share] = {}
        self._is_limiting = False
        #: Scopes in which our note stands in the store.
        self._noted: set[str] = set()
        self._busy = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._outages = OutageLog(logger)

    def join(self, job_id: str, host: str) -> Pace:
        """Begin to pace one transfer. It takes from what this process has, until the next tick."""
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
            now = time.monotonic()
            for pace in self._paces:
                pace.measure(now)
        try:
            self._agree()
        except StoreError as error:
            self._outages.failed(_AGREEING, error)
        else:
            self._outages.worked(_AGREEING)
        with self._mutex:
            self._spread()

    def close(self) -> None:
        """Stop the thread, and take our notes back so that others get our part at once."""
        self._closing.set()
        self._busy.set()
        if self._thread is not None:
            self._thread.join()
        try:
            self._tell({})
        except StoreError as error:
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
            if self._closing.wait(self._interval):
                return

    def _agree(self) -> None:
        """Read the limits, tell what we demand of each, and take in what follows as our share."""
        rates = {**self._defaults, **self._limits.rates()}
        with self._mutex:
            demands = demands_of(self._paces, rates)
        everybody = self._tell(demands)
        shares = {
            scope: Share(
                share(rates[scope], own, everybody[scope]),
                fair_level(rates[scope], everybody[scope]),
            )
            for scope, own in demands.items()
        }
        with self._mutex:
            self._rates, self._shares = rates, shares

    def _tell(self, demands: Mapping[str, Demand]) -> dict[str, Demand]:
        taken_back = dict.fromkeys(self._noted - demands.keys(), Demand())
        everybody = self._limits.share_demands(self._worker, {**demands, **taken_back})
        self._noted = set(demands)
        return everybody

    def _spread(self) -> None:
        if self._rates or self._is_limiting:  # once more after the last limit has gone
            self._is_limiting = bool(self._rates)
            spread(self._paces, self._rates, self._shares)
