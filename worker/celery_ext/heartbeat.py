"""Writes a worker's heartbeat to the store, for `seen worker --check` and `seen doctor`."""

from __future__ import annotations

import logging
import secrets
import time
from typing import Protocol

from cache import CacheManager
from cache.models import WorkerHeartbeat
from domain.errors import StoreError
from settings import Settings
from worker.outages import OutageLog
from worker.periodic_thread import PeriodicThread

logger = logging.getLogger(__name__)

#: Seconds between two heartbeats. `cache.ttl.WORKER_HEARTBEAT` leaves room for three.
INTERVAL = 5.0
#: Seconds for which the event loop may stand still before the worker counts as hung.
MAX_LOOP_PAUSE = 5.0

_WRITING = "The heartbeat of this worker is not written"


class Consumer(Protocol):
    """What is read of Celery's consumer."""

    hostname: str
    looped_at: float
    """When its event loop ran last, by `time.monotonic`."""

    @property
    def queues(self) -> tuple[str, ...]:
        """The names of the queues that it consumes."""


class Heartbeat:
    """Writes heartbeats from a thread of its own, for as long as the consumer's event loop runs.

    A worker that hangs, waits for the broker or drains writes none.

    Args:
        settings: where the store is.
        consumer: of this process.
        interval: seconds between two heartbeats.
    """

    def __init__(
        self, settings: Settings, consumer: Consumer, *, interval: float = INTERVAL
    ) -> None:
        self._cache = CacheManager.connect(settings, retries=0)
        self._consumer = consumer
        # Distinguishes two workers that share a name.
        self._process = secrets.token_hex(4)
        self._written: WorkerHeartbeat | None = None
        self._outages = OutageLog(logger)
        self._thread = PeriodicThread("heartbeat", self.write, interval, first=0.0)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Stop the thread, and remove the worker from the list of those that run."""
        self._thread.close()
        try:
            self._remove_unless(None)
        except StoreError as error:
            self._outages.record_failure(_WRITING, error)  # it expires
        self._cache.close()

    def write(self) -> None:
        """Write one heartbeat, if the event loop runs."""
        if time.monotonic() - self._consumer.looped_at > MAX_LOOP_PAUSE:
            return
        worker = WorkerHeartbeat(
            name=self._consumer.hostname, process=self._process, queues=self._consumer.queues
        )
        try:
            self._remove_unless(worker)
            self._cache.workers.record(worker)
        except StoreError as error:
            self._outages.record_failure(_WRITING, error)
            return
        self._written = worker
        self._outages.record_success(_WRITING)

    def _remove_unless(self, worker: WorkerHeartbeat | None) -> None:
        """Remove the last heartbeat if it is not this one: its queues may have changed."""
        if self._written is not None and self._written != worker:
            self._cache.workers.remove(self._written)
            self._written = None
