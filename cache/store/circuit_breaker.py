"""A circuit breaker: after several calls without a reply, calls fail at once until one succeeds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from cache.store.fork import reset_after_fork
from cache.store.outage_log import OutageLog
from domain.errors import StoreUnavailableError

#: Consecutive calls without a reply that open the breaker.
FAILURE_THRESHOLD = 5
#: Seconds until one call probes whether the store is back.
OPEN_SECONDS = 1.0


class CircuitBreaker:
    """Closed (calls go through), open (calls fail at once), or half open (one call probes).

    Only missing replies are failures: a server that refuses a command is running. Thread-safe.

    Args:
        failure_threshold: consecutive calls without a reply that open it.
        open_seconds: how long it stays open before one call probes, and after a failed probe.
        clock: monotonic seconds.
        outages: logs when calls get no reply, and when they do again.
    """

    def __init__(
        self,
        *,
        failure_threshold: int = FAILURE_THRESHOLD,
        open_seconds: float = OPEN_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        outages: OutageLog | None = None,
    ) -> None:
        self.open_seconds = open_seconds
        self._threshold = failure_threshold
        self._clock = clock
        self._outages = outages
        self._failures = 0
        self._probe_at: float | None = None
        self._probe = 0
        reset_after_fork(self, CircuitBreaker._reset)

    def _reset(self) -> None:
        self._mutex = threading.Lock()

    @property
    def is_open(self) -> bool:
        """Whether calls other than a probe fail at once."""
        return self._probe_at is not None

    def before_call(self) -> int:
        """Allow one call and return its ticket: 0 for an ordinary call, a positive number for a probe.

        Raises:
            StoreUnavailableError: the breaker is open, and the next probe is not due.
        """
        if self._probe_at is None:
            return 0
        with self._mutex:
            if self._probe_at is None:
                return 0
            now = self._clock()
            if now < self._probe_at:
                raise StoreUnavailableError(
                    f"The store did not answer the last {self._failures} calls; "
                    f"the next attempt is in {self._probe_at - now:.1f} s."
                )
            # One probe at a time; if it never returns, the next one is due after `open_seconds`.
            self._probe_at = now + self.open_seconds
            self._probe += 1
            return self._probe

    def record_success(self) -> None:
        """Close the breaker: a call got its reply."""
        if self._failures or self._probe_at is not None:
            with self._mutex:
                self._failures, self._probe_at = 0, None
            if self._outages:
                self._outages.record_success()

    def record_failure(self, ticket: int) -> None:
        """Count a call without a reply; open the breaker at the threshold.

        While it is open, only its latest probe postpones the next one; calls that started earlier do
        not. A probe that fails after another call has succeeded does not open it again.
        """
        with self._mutex:
            self._failures += 1
            is_latest_probe = self.is_open and 0 < ticket == self._probe
            reaches_threshold = not self.is_open and self._failures >= self._threshold
            if is_latest_probe or reaches_threshold:
                self._probe_at = self._clock() + self.open_seconds
        if self._outages:
            self._outages.record_failure()
