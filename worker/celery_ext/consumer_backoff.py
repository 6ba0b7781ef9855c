"""How long a consumer waits while the store refuses commands, or the process lacks descriptors."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from cache.store.refusals import server_message
from domain.errors import WorkerResourcesError
from worker.backoff import REFUSAL_BACKOFF
from worker.broker.refusals import StoreRefusalError

logger = logging.getLogger(__name__)

#: A consumer that has run for so long has recovered: by then it has read its queues twice. Seconds.
RECOVERED_AFTER = 3.0

#: Seconds between two looks at whether the process is to stop.
_STEP = 0.1
#: Celery logs each connection that it makes; while the store refuses, that is one for each attempt.
_CONNECTED_LOG = logging.getLogger("celery.worker.consumer.connection")


class ConsumerBackoff:
    """The waits of one consumer, and what is logged about them: one line when they start and end."""

    def __init__(self) -> None:
        self._failures = 0
        self._since: float | None = None
        self._reason = self._recovery = ""

    def wait_for_store(
        self, error: StoreRefusalError, raise_if_stopping: Callable[[], None]
    ) -> None:
        """Wait before the next attempt.

        Args:
            error: the refusal.
            raise_if_stopping: called ten times a second; it raises what stops the process.
        """
        message = server_message(error).rstrip(".")
        why = f"The store refuses: {message}. {error.refusal.remedy}"
        self._wait(error.refusal.name, why, "The store serves again", raise_if_stopping)

    def wait_for_resources(
        self, lack: WorkerResourcesError, raise_if_stopping: Callable[[], None]
    ) -> None:
        """Wait before the next attempt; `raise_if_stopping` as in `wait_for_store`."""
        self._wait(str(lack), str(lack), "The worker has its resources again", raise_if_stopping)

    def reset(self) -> None:
        """Start again with the shortest wait: the consumer has run for `RECOVERED_AFTER` seconds."""
        if self._since is None:
            return
        logger.warning("%s, after %.0f s", self._recovery, time.monotonic() - self._since)
        _CONNECTED_LOG.setLevel(logging.NOTSET)
        self._since, self._reason, self._failures = None, "", 0

    def _wait(
        self, reason: str, why: str, recovery: str, raise_if_stopping: Callable[[], None]
    ) -> None:
        self._log_once(reason, why, recovery)
        self._failures += 1
        end = time.monotonic() + REFUSAL_BACKOFF.delay(self._failures)
        while time.monotonic() < end:
            raise_if_stopping()
            time.sleep(_STEP)

    def _log_once(self, reason: str, why: str, recovery: str) -> None:
        if self._since is None:
            self._since = time.monotonic()
            _CONNECTED_LOG.setLevel(logging.WARNING)
        if reason != self._reason:
            self._reason, self._recovery = reason, recovery
            logger.warning(
                "%s This worker takes no messages; it tries again at least every %g s",
                why,
                REFUSAL_BACKOFF.longest,
            )
