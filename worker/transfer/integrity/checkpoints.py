"""Makes the bytes of a running transfer durable at intervals, without delaying it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress

from domain.errors import SeenError
from worker.storage.destination import Checkpoint, Destination

logger = logging.getLogger(__name__)

_Describe = Callable[[], Checkpoint]


class CheckpointWriter:
    """Writes the checkpoints of one transfer.

    Args:
        pool: runs the fsyncs, shared by all transfers of the process.
        interval: seconds between two checkpoints.
        on_start: called with each that is started in the background.
    """

    def __init__(
        self,
        destination: Destination,
        job_id: str,
        *,
        pool: Executor,
        interval: float,
        on_start: Callable[[Future[None]], None] = lambda _: None,
    ) -> None:
        self._destination, self._job_id = destination, job_id
        self._pool, self._interval, self._on_start = pool, interval, on_start
        self._running: Future[None] | None = None
        self._started_at = time.monotonic()

    @property
    def is_running(self) -> bool:
        """Whether one is written in the background."""
        return self._running is not None and not self._running.done()

    def write_if_due(self, describe: _Describe) -> None:
        """Start one in the background when it is due.

        Args:
            describe: returns the checkpoint that describes the bytes written by now. It is not kept:
                its owner has this writer, and such a cycle is freed late.

        Raises:
            SeenError: the last one failed, on a full disk for example.
        """
        now = time.monotonic()
        if now - self._started_at < self._interval:
            return
        if not self.is_running:
            self.wait()
            self._started_at = now
            checkpoint = describe()
            if self._adds_durable_bytes(checkpoint):
                self._running = self._pool.submit(self._destination.write_checkpoint, checkpoint)
                self._on_start(self._running)

    def wait(self) -> None:
        """Wait for the running one; raise its error."""
        if self._running is not None:
            running, self._running = self._running, None
            running.result()

    def abandon(self) -> None:
        """Wait for the running one and ignore its error: its bytes are about to be discarded."""
        with suppress(SeenError):
            self.wait()

    def drop(self) -> None:
        """Drop the queued one if it has not started, else wait for it and raise its error."""
        if self._running is not None and self._running.cancel():
            self._running = None
        self.wait()

    def write_final(self, describe: _Describe, check_may_write: Callable[[], None]) -> None:
        """Write a checkpoint of all bytes, so that the next attempt resumes from them; never raise.

        A queued one that has not started is dropped: on a slow disk it waits behind those of all other
        transfers, and this one covers more.
        """
        try:
            self.drop()
            checkpoint = describe()
            if self._adds_durable_bytes(checkpoint):
                check_may_write()
                self._destination.write_checkpoint(checkpoint)
        except SeenError as error:
            logger.warning("The last bytes of job %s have no checkpoint: %s", self._job_id, error)

    def _adds_durable_bytes(self, checkpoint: Checkpoint) -> bool:
        return checkpoint.durable > self._destination.checkpoint.durable
