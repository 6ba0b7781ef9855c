"""How a consumer waits for a store that refuses, or for descriptors: ever longer, and said once."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from cache.store.refusals import server_message
from domain.backoff import Backoff
from domain.errors import WorkerResourcesError
from worker.broker.refusals import StoreRefusalError

logger = logging.getLogger(__name__)

#: Between the tries of a consumer.
BACKOFF = Backoff(first=0.5, longest=8.0)
#: A consumer that has not been refused for so long is served again: by then its queues have been asked
#: twice. Seconds.
RECOVERED_AFTER = 3.0

_STEP = 0.1
#: Celery tells of every connection it makes; while the store refuses, each try is one.
_CONNECTED_LOG = logging.getLogger("celery.worker.consumer.connection")


class ConsumerBackoff:
    """The pauses between the tries of one consumer, and what its log says about them."""

    def __init__(self) -> None:
        self._failures = 0
        self._since: float | None = None
        self._reason = self._end = ""

    def wait_for_store(self, error: StoreRefusalError, raise_if_ending: Callable[[], None]) -> None:
        """Wait before the next try.

        Args:
            error: what the store said.
            raise_if_ending: called ten times a second; it raises what ends the process.
        """
        words = server_message(error).rstrip(".")
        why = f"The store refuses: {words}. {error.refusal.remedy}"
        self._wait(error.refusal.name, why, "The store serves again", raise_if_ending)

    def wait_for_resources(
        self, lack: WorkerResourcesError, raise_if_ending: Callable[[], None]
    ) -> None:
        """Wait before the next try; `raise_if_ending` as in `wait_for_store`."""
        self._wait(str(lack), str(lack), "The worker has its resources again", raise_if_ending)

    def served(self) -> None:
        """The consumer has run for `RECOVERED_AFTER` seconds: begin again with the first pause."""
        if self._since is None:
            return
        logger.warning("%s, after %.0f s", self._end, time.monotonic() - self._since)
        _CONNECTED_LOG.setLevel(logging.NOTSET)
        self._since, self._reason, self._failures = None, "", 0

    def _wait(self, reason: str, why: str, end: str, raise_if_ending: Callable[[], None]) -> None:
        self._tell(reason, why, end)
        self._failures += 1
        ends = time.monotonic() + BACKOFF.delay(self._failures)
        while time.monotonic() < ends:
            raise_if_ending()
            time.sleep(_STEP)

    def _tell(self, reason: str, why: str, end: str) -> None:
        if self._since is None:
            self._since = time.monotonic()
            _CONNECTED_LOG.setLevel(logging.WARNING)
        if reason != self._reason:
            self._reason, self._end = reason, end
            logger.warning(
                "%s This worker takes no messages, and tries again every %g s at most until it can",
                why,
                BACKOFF.longest,
            )
