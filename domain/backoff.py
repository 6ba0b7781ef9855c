"""Exponential back-off: the one place for growth, cap and jitter."""

from __future__ import annotations

import random
from dataclasses import dataclass

#: 2.0 to a higher power may not fit a float; the cap is reached long before.
_MAX_DOUBLINGS = 60


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delays that double with each failure in a row. Seconds.

    Attributes:
        first: the delay after the first failure.
        longest: no delay is longer.
        jitter: the part of a delay that is random, 0 to 1, so that callers that fail together do not
            come back together.
    """

    first: float
    longest: float
    jitter: float = 0.0

    def delay(self, failures: int) -> float:
        """Return how long to wait after `failures` (1 or more) failures in a row."""
        delay = min(self.longest, self.first * 2.0 ** min(failures - 1, _MAX_DOUBLINGS))
        return delay * random.uniform(1 - self.jitter, 1)  # noqa: S311 - not used for security
