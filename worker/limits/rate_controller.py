"""Sets the rate of every transfer of this process, within limits that all processes share.

One thread runs four times a second: it measures the transfers, writes their demand for each limited
rate to the store, reads the demand of all processes, and computes this process's share from both
(`worker.limits.max_min_fairness`). There is no leader, and no process knows the others.
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
from worker.limits.transfer_rate import Share, TransferRate, admit, assign_rates, demands_of
from worker.outages import OutageLog

logger = logging.getLogger(__name__)

#: With up to this many transfers, a new one changes the rates of all at once.
ASSIGNED_AT_ONCE = 64

_UPDATING = "Transfers keep the rate limits that were read last"


class RateController:
    """Sets the rates of this process's transfers.

    While the store does not answer, the process keeps its shares, so the total of its transfers does not
    grow. Without any limit, an update costs one small read.

    Args:
        limits: where limits and demands are kept. Its client need not retry: the next update does.
        worker: the name of this process among all.
        interval: seconds between two updates while transfers run.
        defaults: limits by scope that hold where the store has none. Bytes per second.
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
        self._shares: Mapping[str, Share] = {}
        self._is_limiting = False
        #: The number of transfers whose jobs came with a limit.
        self._own_limits = 0
        #: Scopes for which the store holds a demand of this process.
        self._reported_scopes: set[str] = set()
        self._busy = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._outages = OutageLog(logger)

    def register(self, job_id: str, host: str, own_limit: int | None = None) -> TransferRate:
        """Add a transfer. Until the next update it takes from this process's share.

        Args:
            job_id: its job.
            host: of the job's URL.
            own_limit: bytes per second that came with the job; None for no such limit. A limit of the
                job in the store replaces it.
        """
        transfer = TransferRate(job_id, host, own_limit)
        with self._mutex:
            self._transfers.add(transfer)
            self._own_limits += own_limit is not None
            self._admit(transfer)
            self._busy.set()
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="rate-controller", daemon=True
                )
                self._thread.start()
        return transfer

    def unregister(self, transfer: TransferRate) -> None:
        """Remove a transfer, if it is there; the next update gives its part to others."""
        with self._mutex:
            if transfer in self._transfers:
                self._transfers.remove(transfer)
                self._own_limits -= transfer.own_limit is not None

    def tick(self) -> None:
        """Update once: measure the transfers, exchange demands, and set every rate."""
        with self._mutex:
            now = time.monotonic()
            for transfer in self._transfers:
                transfer.measure(now)
        try:
            self._update_shares()
        except StoreError as error:
            self._outages.record_failure(_UPDATING, error)
        else:
            self._outages.record_success(_UPDATING)
        with self._mutex:
            self._assign_rates()

    def close(self) -> None:
        """Stop the thread, and delete this process's demands so that others get its part at once."""
        self._closing.set()
        self._busy.set()
        if self._thread is not None:
            self._thread.join()
        try:
            self._exchange_demands({})
        except StoreError as error:
            logger.debug("The demands of this process expire by themselves: %s", error)

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
                # Without this thread new limits would have no effect, and old ones would stay.
                logger.exception("Rates of transfers could not be set; trying again")
            with self._mutex:
                if not self._transfers and not self._reported_scopes:
                    self._busy.clear()
            if self._closing.wait(self._interval):
                return

    def _update_shares(self) -> None:
        """Read the limits, exchange demands, and compute this process's share of each limit."""
        rates = {**self._defaults, **self._limits.rates()}
        with self._mutex:
            demands = demands_of(self._transfers, rates)
        totals = self._exchange_demands(demands)
        shares = {
            scope: Share(
                share(rates[scope], own, totals[scope]),
                fair_level(rates[scope], totals[scope]),
            )
            for scope, own in demands.items()
        }
        with self._mutex:
            self._rates, self._shares = rates, shares

    def _exchange_demands(self, demands: Mapping[str, Demand]) -> dict[str, Demand]:
        """Write this process's demands, delete those it no longer has; return the sums of all."""
        deleted = dict.fromkeys(self._reported_scopes - demands.keys(), Demand())
        totals = self._limits.share_demands(self._worker, {**demands, **deleted})
        self._reported_scopes = set(demands)
        return totals

    def _admit(self, transfer: TransferRate) -> None:
        """Set the rate of a new transfer; of many others only with the next update, which costs more."""
        if len(self._transfers) <= ASSIGNED_AT_ONCE:
            self._assign_rates()
        elif self._rates or self._own_limits:
            self._is_limiting = True
            admit(transfer, len(self._transfers), self._rates, self._shares)

    def _assign_rates(self) -> None:
        is_limited = bool(self._rates) or self._own_limits > 0
        if is_limited or self._is_limiting:  # once more after the last limit is removed
            self._is_limiting = is_limited
            assign_rates(self._transfers, self._rates, self._shares)
