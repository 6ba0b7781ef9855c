"""How a worker's consumer waits for a store that answers and refuses: ever longer, and said once."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from cache.store.refusals import words_of
from worker.store_refusal import StoreRefusalError

logger = logging.getLogger(__name__)

#: Seconds before the first try; each further one waits twice as long, up to the longest.
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 8.0
#: A consumer that has not been refused for so long is served again: by then its queues have been asked
#: twice. Seconds.
SERVED_AFTER = 3.0

_STEP = 0.1
#: Celery tells of every connection it makes; while the store refuses, each try is one.
_CONNECTED_LOG = logging.getLogger("celery.worker.consumer.connection")


class RefusalPatience:
    """The pauses between the tries of one consumer, and what its log says about them."""

    def __init__(self) -> None:
        self._pause = FIRST_PAUSE
        self._since: float | None = None
        self._reason = ""

    def wait(self, error: StoreRefusalError, raise_if_ending: Callable[[], None]) -> None:
        """Wait before the next try.

        Args:
            error: what the store said.
            raise_if_ending: called ten times a second; it raises what ends the process.
        """
        self._tell(error)
        pause, self._pause = self._pause, min(LONGEST_PAUSE, 2 * self._pause)
        ends = time.monotonic() + pause
        while time.monotonic() < ends:
            raise_if_ending()
            time.sleep(_STEP)

    def served(self) -> None:
        """The consumer has run for `SERVED_AFTER` seconds: begin again with the first pause."""
        if self._since is None:
            return
        logger.warning("The store serves again, after %.0f s", time.monotonic() - self._since)
        _CONNECTED_LOG.setLevel(logging.NOTSET)
        self._since, self._reason, self._pause = None, "", FIRST_PAUSE

    def _tell(self, error: StoreRefusalError) -> None:
        if self._since is None:
            self._since = time.monotonic()
            _CONNECTED_LOG.setLevel(logging.WARNING)
        if error.refusal.name != self._reason:
            self._reason = error.refusal.name
            logger.warning(
                "The store refuses: %s. %s This worker takes no messages, and tries again until it is "
                "served, every %g s at most",
                words_of(error).rstrip("."),
                error.refusal.remedy,
                LONGEST_PAUSE,
            )
