"""How long a job waits before its next attempt, and a process after a refusal of the store."""

from __future__ import annotations

from dataclasses import dataclass

from domain.backoff import Backoff

#: Between the tries of a process while the store refuses commands. Seconds.
REFUSAL_BACKOFF = Backoff(first=0.5, longest=8.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Back-off between the attempts of a job, and what an origin may ask for. Seconds.

    Attributes:
        first: the longest delay after the first attempt; it doubles with each further one.
        longest: no delay is longer, whatever `Retry-After` says.
    """

    first: float
    longest: float

    def delay(self, attempts: int, retry_after: float | None = None) -> float:
        """Return the delay after `attempts` (1 or more): at least `retry_after`, within `longest`."""
        backoff = Backoff(self.first, self.longest, jitter=0.5)
        return max(backoff.delay(attempts), self.bounded(retry_after or 0.0))

    def bounded(self, retry_after: float) -> float:
        """Return what an origin asks for, or `longest` if that is less."""
        return min(retry_after, self.longest)
