"""Sets how fast the transfers of this process go: limits of a job, a host and in total, kept by all.

One thread a process looks at its transfers four times a second, tells the store what they demand of each
limited rate, and gets back what total demands: from both follows what is ours
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
from worker.limits.transfer_rate import Share, TransferRate, assign_rates, demands_of
from worker.outages import OutageLog

logger = logging.getLogger(__name__)

_UPDATING = "Limits of rates stay as they are"


class RateController:
    """Sets the rate of all transfers of this process.

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
        self._transfers: set[TransferRate] = set()
        self._rates: Mapping[str, int] = self._defaults
        #: What this process has of each limited rate, as of the last answer.
        self._shares: Mapping[str, Share] = {}
        self._is_limiting = False
        #: Scopes in which our note stands in the store.
        self._reported_scopes: set[str] = set()
        self._busy = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._outages = OutageLog(logger)

    def register(self, job_id: str, host: str) -> TransferRate:
        """Begin to rate one transfer. It takes from what this process has, until the next tick."""
        rate = TransferRate(job_id, host)
        with self._mutex:
            self._transfers.add(rate)
            self._assign_rates()
            self._busy.set()
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="rate_controller", daemon=True
                )
                self._thread.start()
        return rate

    def unregister(self, rate: TransferRate) -> None:
        """Stop pacing a transfer; the next tick gives its part to others. Twice does no harm."""
        with self._mutex:
            self._transfers.discard(rate)

    def tick(self) -> None:
        """Measure, tell, hear, and set every rate, once."""
        with self._mutex:
            now = time.monotonic()
            for rate in self._transfers:
                rate.measure(now)
        try:
            self._update_shares()
        except StoreError as error:
            self._outages.record_failure(_UPDATING, error)
        else:
            self._outages.record_success(_UPDATING)
        with self._mutex:
            self._assign_rates()

    def close(self) -> None:
        """Stop the thread, and take our notes back so that others get our part at once."""
        self._closing.set()
        self._busy.set()
        if self._thread is not None:
            self._thread.join()
        try:
            self._exchange_demands({})
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
                    "The rate of transfers could not be set; the next tick tries again"
                )
            with self._mutex:
                if not self._transfers and not self._reported_scopes:
                    self._busy.clear()
            if self._closing.wait(self._interval):
                return

    def _update_shares(self) -> None:
        """Read the limits, tell what we demand of each, and take in what follows as our share."""
        rates = {**self._defaults, **self._limits.rates()}
        with self._mutex:
            demands = demands_of(self._transfers, rates)
        total = self._exchange_demands(demands)
        shares = {
            scope: Share(
                share(rates[scope], own, total[scope]),
                fair_level(rates[scope], total[scope]),
            )
            for scope, own in demands.items()
        }
        with self._mutex:
            self._rates, self._shares = rates, shares

    def _exchange_demands(self, demands: Mapping[str, Demand]) -> dict[str, Demand]:
        taken_back = dict.fromkeys(self._reported_scopes - demands.keys(), Demand())
        total = self._limits.share_demands(self._worker, {**demands, **taken_back})
        self._reported_scopes = set(demands)
        return total

    def _assign_rates(self) -> None:
        if self._rates or self._is_limiting:  # once more after the last limit has gone
            self._is_limiting = bool(self._rates)
            assign_rates(self._transfers, self._rates, self._shares)
