"""A circuit breaker: after some calls without answer nobody waits until one gets through."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from cache.store.fork import reset_after_fork
from domain.errors import StoreUnavailableError

#: Calls in a row without answer after which the store counts as down.
FAILURE_THRESHOLD = 5
#: Seconds until one call may try again.
OPEN_SECONDS = 1.0


class CircuitBreaker:
    """Closed (calls go through), open (calls fail at once), or half open (one call probes).

    Only missing answers count: a server that refuses a command is there. Safe for threads.

    Args:
        failure_threshold: calls in a row without answer that open it.
        open_seconds: how long it stays open before one call probes, and after a failed probe.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        *,
        failure_threshold: int = FAILURE_THRESHOLD,
        open_seconds: float = OPEN_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.open_seconds = open_seconds
        self._limit = failure_threshold
        self._clock = clock
        self._failed = 0
        self._probe_at: float | None = None
        self._probe = 0
        reset_after_fork(self, CircuitBreaker._reset)

    def _reset(self) -> None:
        self._mutex = threading.Lock()

    @property
    def is_open(self) -> bool:
        """Whether calls fail at once, but for a probe."""
        return self._probe_at is not None

    def before_call(self) -> int:
        """Let a call through, and return its ticket (0 for an ordinary one, more for a probe).

        Raises:
            StoreUnavailableError: the store counts as down, and it is not time for a probe.
        """
        if self._probe_at is None:
            return 0
        with self._mutex:
            if self._probe_at is None:
                return 0
            now = self._clock()
            if now < self._probe_at:
                raise StoreUnavailableError(
                    f"The store has not answered {self._failed} times in a row; "
                    f"it is asked again in {self._probe_at - now:.1f} s."
                )
            # One probe at a time; when it never returns, the next one follows after `open_seconds`.
            self._probe_at = now + self.open_seconds
            self._probe += 1
            return self._probe

    def record_success(self) -> None:
        """A call got its answer: the store is there."""
        if self._failed or self._probe_at is not None:
            with self._mutex:
                self._failed, self._probe_at = 0, None

    def record_failure(self, ticket: int) -> None:
        """A call got no answer.

        Once it is open, only its latest probe counts: an ordinary call that began before does not put
        off the next one. Nor does a probe that was overtaken by an answer open it again.
        """
        with self._mutex:
            self._failed += 1
            is_latest_probe = self.is_open and 0 < ticket == self._probe
            is_one_too_many = not self.is_open and self._failed >= self._limit
            if is_latest_probe or is_one_too_many:
                self._probe_at = self._clock() + self.open_seconds
