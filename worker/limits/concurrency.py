"""How many downloads this process runs at once: fewer for a while after it ran out of a resource."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

logger = logging.getLogger(__name__)

#: Seconds without another shortage after which one more download may run.
RECOVERY = 10.0
#: Several downloads that meet the same shortage reduce the limit once. Seconds.
_SAME_SHORTAGE = 1.0


class ConcurrencyLimit:
    """Counts the running downloads; while there is a limit, it allows no more than that."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._mutex = threading.Lock()
        self._running = 0
        self._reduced_to: int | None = None
        self._reduced_at = -_SAME_SHORTAGE
        #: The limit is lifted when it has grown to this number: as many ran at the first shortage.
        self._lift_at = 0

    def try_acquire(self) -> bool:
        """Count one more running download; False, and nothing is counted, when no more may run now."""
        with self._mutex:
            bound = self.bound
            if bound is not None and self._running >= bound:
                return False
            self._running += 1
            return True

    def release(self) -> None:
        """Count one download less."""
        with self._mutex:
            self._running -= 1

    def reduce(self) -> bool:
        """Run half as many from now on, at least one; False when that was done a moment ago."""
        with self._mutex:
            now = self._clock()
            if now - self._reduced_at < _SAME_SHORTAGE:
                return False
            self._lift_at = max(self._lift_at, self._running)
            self._reduced_to, self._reduced_at = max(1, self._running // 2), now
            logger.warning(
                "This worker lacks resources: it runs at most %d downloads for now",
                self._reduced_to,
            )
            return True

    @property
    def bound(self) -> int | None:
        """How many may run at once now; None without a limit."""
        if self._reduced_to is None:
            return None
        bound = self._reduced_to + int((self._clock() - self._reduced_at) / RECOVERY)
        if bound >= self._lift_at:
            self._reduced_to, self._lift_at = None, 0
            return None
        return bound
