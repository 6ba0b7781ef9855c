"""How long a job waits before it is tried again."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Exponential backoff with jitter. Seconds.

    Attributes:
        first: the longest wait before the second attempt; it doubles with every further one.
        longest: no wait is longer than this, whatever the origin asks for.
    """

    first: float
    longest: float

    def pause(self, attempts: int, retry_after: float | None = None) -> float:
        """Return how long to wait after `attempts` (1 or more) attempts.

        Between half and all of the exponential time, so that what failed together does not come back
        together; and at least as long as the origin asked for with `retry_after`.
        """
        # Doubling stops to matter long before 2^60; without a bound the power would not fit a float.
        exponential = min(self.longest, self.first * 2.0 ** min(attempts - 1, 60))
        jittered = exponential * random.uniform(0.5, 1.0)  # noqa: S311 - no secret hangs on it
        return max(jittered, self.bounded(retry_after or 0.0))

    def bounded(self, retry_after: float) -> float:
        """Return what an origin asks for, or the longest wait if that is less."""
        return min(retry_after, self.longest)
