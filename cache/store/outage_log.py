"""Logs when the store stops answering and when it is back: a cache without a store works silently."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

from cache.store.fork import reset_after_fork

logger = logging.getLogger(__name__)

#: Outages that are logged in any `WINDOW_SECONDS`; a store that comes and goes would fill the log.
MAX_IN_WINDOW = 3
WINDOW_SECONDS = 60.0


class OutageLog:
    """One WARNING for each outage, and one INFO when it is over. Thread-safe.

    Args:
        address: the store, as the settings name it.
        clock: monotonic seconds.
    """

    def __init__(self, address: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._address = address
        self._clock = clock
        self._is_logged = False
        self._logged_at: deque[float] = deque(maxlen=MAX_IN_WINDOW)
        reset_after_fork(self, OutageLog._reset)

    def _reset(self) -> None:
        self._mutex = threading.Lock()

    def record_failure(self) -> None:
        """Log the outage if it is new: a call got no reply."""
        with self._mutex:
            now, logged_at = self._clock(), self._logged_at
            is_flood = len(logged_at) == MAX_IN_WINDOW and now < logged_at[0] + WINDOW_SECONDS
            if self._is_logged or is_flood:
                return
            self._is_logged = True
            logged_at.append(now)
        logger.warning(
            "The store at %s does not answer. Until it does, reads of cached values are misses, "
            "writes of them are dropped, and a rate limit allows or refuses as its `fail` says.",
            self._address,
        )

    def record_success(self) -> None:
        """Log the end of the outage, if it was logged: a call got its reply."""
        with self._mutex:
            was_logged, self._is_logged = self._is_logged, False
        if was_logged:
            logger.info("The store at %s answers again.", self._address)
