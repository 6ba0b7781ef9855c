"""Celery's pool: it hands downloads to the job pool of the process, and runs other tasks in threads."""

from __future__ import annotations

import logging
import os
import queue
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from celery.concurrency.thread import TaskPool as ThreadPool
from kombu.asynchronous import Hub

import settings as settings_module
from worker.broker.task_messages import DOWNLOAD_TASK
from worker.celery_ext import descriptors
from worker.celery_ext.pool.download_task import DownloadTask
from worker.job_pool import JobPool
from worker.loop.threads import Threads
from worker.outcome import JobEnd

logger = logging.getLogger(__name__)


class TaskPool(ThreadPool):
    """Hands the jobs of a download's message to the job pool, and is free for the next message.

    Celery calls it from the thread of its event loop, and is called back there: with a thread pool, the
    callbacks would change Celery's tables while the loop reads them.

    Attributes:
        limit: the slots: how many jobs, and how many periodic tasks, run at once.
        max_limit: to how many the autoscaler may let it grow.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.executor = Threads(max_workers=self.limit)
        self.max_limit = 0
        self._hub: Hub | None = None
        self._in_threads: set[Future[Any]] = set()
        self._downloads: set[DownloadTask] = set()
        self._ended: queue.SimpleQueue[tuple[DownloadTask, list[JobEnd]]] = queue.SimpleQueue()
        #: Built for the first download: a maintenance worker has none.
        self._job_pool: JobPool | None = None
        self._is_waited_for = False

    # ── room ────────────────────────────────────────────────────────────────────────────────────

    @property
    def jobs_in_hand(self) -> int:
        """How many jobs run or wait here, and how many periodic tasks."""
        return len(self._in_threads) + (self._job_pool.running if self._job_pool else 0)

    def has_room(self) -> bool:
        """Return whether the consumer should take another message now."""
        # Set before the look, so that room that appears during it is announced.
        self._is_waited_for = True
        has_room = self._has_room()
        self._is_waited_for = not has_room
        return has_room

    def _has_room(self) -> bool:
        if self.limit <= self.jobs_in_hand < self.max_limit:
            return True  # the autoscaler adds slots for the next message
        if len(self._in_threads) >= self.limit:
            return False
        return self._job_pool is None or self._job_pool.has_room()

    def _announce_room(self, _future: Future[Any] | None = None) -> None:
        """Let the event loop look for room, which else it does once a second. Called in any thread."""
        if self._is_waited_for:
            self._call_soon(_nothing)

    def grow(self, n: int = 1) -> None:
        """Run so many jobs more at once (``celery control pool_grow``, ``--autoscale``)."""
        self._resize(self.limit + n)

    def shrink(self, n: int = 1) -> None:
        """Run so many jobs fewer at once, at least one; those that run go on."""
        self._resize(max(1, self.limit - n))

    def _resize(self, limit: int) -> None:
        if self._job_pool is not None:
            limit = self._job_pool.concurrency = _slots_for(limit)
        # The executor starts threads up to this number. It ends none.
        self.limit = self.executor._max_workers = limit

    # ── tasks ───────────────────────────────────────────────────────────────────────────────────

    def register_with_event_loop(self, hub: Any) -> None:
        """Use this loop. Called for each connection to the broker."""
        self._hub = hub
        hub.call_soon(self._end_tasks)  # those that ended while there was no connection

    def on_apply(
        self,
        target: Any,
        args: Any = None,
        kwargs: Any = None,
        callback: Any = None,
        accept_callback: Any = None,
        **options: Any,
    ) -> Any:
        """Start the jobs of a download, or a task in a thread."""
        if args[0] == DOWNLOAD_TASK:
            # First the jobs: if the broker fails at this moment, they run in spite of it.
            self._start(DownloadTask(target, args, callback))
            accept_callback(os.getpid(), time.monotonic())
            return None
        result = super().on_apply(target, args, kwargs, callback, accept_callback, **options)
        self._in_threads.add(result.f)
        result.f.add_done_callback(self._in_threads.discard)
        result.f.add_done_callback(self._announce_room)
        return result

    def prepare_downloads(self) -> None:
        """Build what the first download needs."""
        self._jobs()

    def _start(self, task: DownloadTask) -> None:
        self._downloads.add(task)
        try:
            self._jobs().start(task.message, lambda ends: self._on_end(task, ends))
        except Exception as error:
            # The jobs are queued, and get another message when `download.reconcile` finds that they
            # have none.
            logger.exception("Jobs of message %s could not be started", task.task_id)
            self._on_end(task, task.ends_without_start(error))

    def _jobs(self) -> JobPool:
        if self._job_pool is None:
            self._job_pool = self.app.job_pool()
            self._job_pool.on_room(self._announce_room)
            self._resize(self.limit)
        return self._job_pool

    def _on_end(self, task: DownloadTask, ends: list[JobEnd]) -> None:
        """Let Celery's thread end a task. Called in the thread of the jobs."""
        self._ended.put((task, ends))
        self._call_soon(self._end_tasks)

    def _call_soon(self, callback: Callable[[], None]) -> None:
        hub = self._hub
        if hub is not None:
            hub.call_soon(callback)

    def _end_tasks(self) -> None:
        while not self._ended.empty():
            self._end_task(*self._ended.get())

    def _end_task(self, task: DownloadTask, ends: list[JobEnd]) -> None:
        self._downloads.discard(task)
        try:
            task.end(ends)
        except Exception:
            logger.exception("The end of task %s could not be sent as an event", task.task_id)

    # ── the end ─────────────────────────────────────────────────────────────────────────────────

    def on_stop(self) -> None:
        """Wait until all jobs in hand have stopped, which they do because the process drains."""
        self._hub = None  # its loop runs no more
        while self._downloads:
            self._end_task(*self._ended.get())
        super().on_stop()


def _slots_for(downloads: int) -> int:
    """Return how many downloads this process may run of so many; it lets it open the files they need."""
    return descriptors.prepare(downloads, settings_module.load().connections)


def _nothing() -> None:
    """An empty call is enough: the loop looks for room in each round."""
