"""How many downloads this process runs at once: fewer for a while after it has lacked something."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from worker.leases.drain import Drain

logger = logging.getLogger(__name__)

#: After a lack, one more download may run each time this has passed without another. Seconds.
RECOVERY = 10.0
#: Several downloads that meet the same lack count as one. Seconds.
_SAME_SHORTAGE = 1.0
#: A drain begins without waking anyone; waiting threads look this often. Seconds.
_POLL_INTERVAL = 0.2


class ConcurrencyLimit:
    """Counts the running downloads, and holds new ones back while there is a bound."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._running = 0
        self._bound: int | None = None
        #: The number that ran when it was first too many.
        self._lift_at = 0
        self._reduced_at = -_SAME_SHORTAGE

    @contextmanager
    def acquire(self, drain: Drain) -> Iterator[bool]:
        """Wait for a place and hold it for the block; False when the process drains instead."""
        acquired = self._enter(drain)
        try:
            yield acquired
        finally:
            if acquired:
                self._leave()

    def reduce(self) -> bool:
        """Run half as many from now on, one at least; False when that was done a moment ago."""
        with self._changed:
            now = self._clock()
            if now - self._reduced_at < _SAME_SHORTAGE:
                return False
            self._lift_at = max(self._lift_at, self._running)
            self._bound, self._reduced_at = max(1, self._running // 2), now
            logger.warning(
                "This worker lacks resources: it runs %d downloads at once for now", self._bound
            )
            return True

    @property
    def bound(self) -> int | None:
        """How many may run at once now; None without a bound."""
        if self._bound is None:
            return None
        bound = self._bound + int((self._clock() - self._reduced_at) / RECOVERY)
        if bound >= self._lift_at:
            self._bound, self._lift_at = None, 0
            return None
        return bound

    def _enter(self, drain: Drain) -> bool:
        with self._changed:
            while not drain.has_started:
                bound = self.bound
                if bound is None or self._running < bound:
                    self._running += 1
                    return True
                self._changed.wait(_POLL_INTERVAL)
        return False

    def _leave(self) -> None:
        with self._changed:
            self._running -= 1
            self._changed.notify()
