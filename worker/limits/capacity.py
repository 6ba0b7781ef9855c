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
_ONE_LACK = 1.0
#: A drain begins without waking anyone; waiting threads look this often. Seconds.
_LOOK_UP = 0.2


class Capacity:
    """Counts the running downloads, and holds new ones back while there is a bound."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._running = 0
        self._bound: int | None = None
        #: The number that ran when it was first too many.
        self._too_many = 0
        self._lacked_at = -_ONE_LACK

    @contextmanager
    def place(self, drain: Drain) -> Iterator[bool]:
        """Wait for a place and hold it for the block; False when the process drains instead."""
        has_place = self._enter(drain)
        try:
            yield has_place
        finally:
            if has_place:
                self._leave()

    def shrink(self) -> bool:
        """Run half as many from now on, one at least; False when that was done a moment ago."""
        with self._changed:
            now = self._clock()
            if now - self._lacked_at < _ONE_LACK:
                return False
            self._too_many = max(self._too_many, self._running)
            self._bound, self._lacked_at = max(1, self._running // 2), now
            logger.warning(
                "This worker lacks resources: it runs %d downloads at once for now", self._bound
            )
            return True

    @property
    def bound(self) -> int | None:
        """How many may run at once now; None without a bound."""
        if self._bound is None:
            return None
        bound = self._bound + int((self._clock() - self._lacked_at) / RECOVERY)
        if bound >= self._too_many:
            self._bound, self._too_many = None, 0
            return None
        return bound

    def _enter(self, drain: Drain) -> bool:
        with self._changed:
            while not drain.has_begun:
                bound = self.bound
                if bound is None or self._running < bound:
                    self._running += 1
                    return True
                self._changed.wait(_LOOK_UP)
        return False

    def _leave(self) -> None:
        with self._changed:
            self._running -= 1
            self._changed.notify()
