"""Makes the bytes of a running transfer durable from time to time, without holding them up."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

from domain.errors import SeenError
from worker.progress.reporter import DownloadTracker
from worker.storage.checkpoint import Checkpoint
from worker.storage.destination import Destination

logger = logging.getLogger(__name__)


class Checkpoints:
    """The checkpoints of one transfer.

    Args:
        current: returns what a checkpoint is to say of the bytes that are written by now.
        pool: runs the fsyncs, shared by all downloads of the process.
        interval: seconds between two.
    """

    def __init__(
        self,
        part: Destination,
        tracker: DownloadTracker,
        current: Callable[[], Checkpoint],
        *,
        pool: ThreadPoolExecutor,
        interval: float,
    ) -> None:
        self._part, self._tracker, self._current = part, tracker, current
        self._pool, self._interval = pool, interval
        self._running: Future[None] | None = None
        self._last = time.monotonic()

    def write_if_due(self) -> None:
        """Begin one when it is time to, and raise what the last one met (a full disk, say)."""
        now = time.monotonic()
        if now - self._last < self._interval:
            return
        if self._running is None or self._running.done():
            self.wait()
            self._last = now
            checkpoint = self._current()
            if self._adds_durable_bytes(checkpoint):
                self._running = self._pool.submit(self._sync, checkpoint)

    def wait(self) -> None:
        """Wait for the one under way, and raise what it met."""
        if self._running is not None:
            running, self._running = self._running, None
            running.result()

    def abandon(self) -> None:
        """Wait for the one under way, whatever it meets: what it vouches for is about to go."""
        with suppress(SeenError):
            self.wait()

    def write_final(self, check_may_write: Callable[[], None]) -> None:
        """Leave a checkpoint of all bytes that are there, so that the next attempt goes on from them.

        One that has not begun is dropped: on a slow disk it stands behind those of all other downloads,
        and this one says more.
        """
        if self._running is not None and self._running.cancel():
            self._running = None
        try:
            self.wait()
            checkpoint = self._current()
            if self._adds_durable_bytes(checkpoint):
                check_may_write()
                self._sync(checkpoint)
        except SeenError as error:
            logger.warning(
                "Job %s could not checkpoint its last bytes: %s", self._tracker.job_id, error
            )

    def _adds_durable_bytes(self, checkpoint: Checkpoint) -> bool:
        """Say whether it vouches for bytes that the last one does not; else it is not worth an fsync."""
        return checkpoint.durable > self._part.checkpoint.durable

    def _sync(self, checkpoint: Checkpoint) -> None:
        self._part.write_checkpoint(checkpoint)
        self._tracker.bytes_durable = checkpoint.durable
