"""Celery's thread pool, in which a finished task lets the consumer take the next message at once."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from celery.concurrency.thread import TaskPool as ThreadPool
from kombu.asynchronous import get_event_loop

from worker.resources import resource_error_of

logger = logging.getLogger(__name__)


class _Threads(ThreadPoolExecutor):
    """Continues with its present threads when the system refuses a new one."""

    def _adjust_thread_count(self) -> None:
        try:
            super()._adjust_thread_count()
        except RuntimeError as error:
            if not self._threads or resource_error_of(error) is None:
                raise
            # The task is in the executor's queue already: the next free thread runs it.
            logger.warning("No thread could be started; %d threads run", len(self._threads))


class TaskPool(ThreadPool):
    """A thread pool that notifies the event loop when a task is done.

    With `worker_disable_prefetch` a full worker does not read its queues. Celery's thread pool does not
    notify the event loop of a free thread, so the next message would wait for the loop's next round, up
    to a second.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.executor = _Threads(max_workers=self.limit)

    def grow(self, n: int = 1) -> None:
        """Run so many tasks more at once (``celery control pool_grow``, ``--autoscale``)."""
        self._resize(self.limit + n)

    def shrink(self, n: int = 1) -> None:
        """Run so many tasks fewer at once, at least one; those that run go on."""
        self._resize(max(1, self.limit - n))

    def _resize(self, limit: int) -> None:
        # The executor starts threads up to this number. It ends none: the consumer takes no message
        # while `limit` tasks run.
        self.limit = self.executor._max_workers = limit

    def on_apply(self, *args: Any, **kwargs: Any) -> Any:
        """Run a task in a thread, and notify the loop when it is done."""
        result = super().on_apply(*args, **kwargs)
        result.f.add_done_callback(_notify_loop)
        return result


def _notify_loop(_future: object) -> None:
    loop = get_event_loop()
    if loop is not None:
        loop.call_soon(_nothing)


def _nothing() -> None:
    """An empty call is enough: the loop looks for free threads in each round."""
