"""A circuit breaker: after some calls without answer nobody waits until one gets through."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from domain.errors import StoreUnavailableError

#: Calls in a row without answer after which the store counts as down.
FAILURES = 5
#: Seconds until one call may try again.
PAUSE = 1.0


class Breaker:
    """Closed (calls go through), open (calls fail at once), or half open (one call probes).

    Only missing answers count: a server that refuses a command is there. Safe for threads.

    Args:
        failures: calls in a row without answer that open it.
        pause: seconds it stays open before one call probes; as long again after a probe that failed.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        *,
        failures: int = FAILURES,
        pause: float = PAUSE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.pause = pause
        self._limit = failures
        self._clock = clock
        self._mutex = threading.Lock()
        self._failed = 0
        self._probe_at: float | None = None
        self._probe = 0

    @property
    def is_open(self) -> bool:
        """Whether calls fail at once, but for a probe."""
        return self._probe_at is not None

    def enter(self) -> int:
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
            # One probe at a time; should its caller never come back, the next one follows a pause later.
            self._probe_at = now + self.pause
            self._probe += 1
            return self._probe

    def answered(self) -> None:
        """A call got its answer: the store is there."""
        if self._failed or self._probe_at is not None:
            with self._mutex:
                self._failed, self._probe_at = 0, None

    def unanswered(self, ticket: int) -> None:
        """A call got no answer.

        An ordinary call that began before the breaker opened does not put off the probe.
        """
        with self._mutex:
            self._failed += 1
            if ticket or (self._failed >= self._limit and self._probe_at is None):
                self._probe_at = self._clock() + self.pause
