"""Celery's thread pool, with one thing added: a freed slot asks for the next message at once."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from celery.concurrency.thread import TaskPool as ThreadPool
from kombu.asynchronous import get_event_loop

from worker.resources import resource_error_of

logger = logging.getLogger(__name__)


class _Threads(ThreadPoolExecutor):
    """Goes on with the threads it has when the system gives it no more."""

    def _adjust_thread_count(self) -> None:
        try:
            super()._adjust_thread_count()
        except RuntimeError as error:
            if not self._threads or resource_error_of(error) is None:
                raise
            # What was submitted stands in the queue already: a thread that gets free takes it.
            logger.warning("No thread could be started; %d go on", len(self._threads))


class TaskPool(ThreadPool):
    """Threads whose end wakes the consumer.

    With `worker_disable_prefetch` a full worker stops asking the broker. Celery's thread pool does not
    tell the event loop when a slot becomes free, so the next message would wait until the loop wakes by
    itself, up to a second.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.executor = _Threads(max_workers=self.limit)

    def on_apply(self, *args: Any, **kwargs: Any) -> Any:
        """Hand a task to a thread, and wake the loop when it is done."""
        result = super().on_apply(*args, **kwargs)
        result.f.add_done_callback(_wake_consumer)
        return result


def _wake_consumer(_future: object) -> None:
    loop = get_event_loop()
    if loop is not None:
        loop.call_soon(_nothing)


def _nothing() -> None:
    """An empty call is enough: the loop looks for free slots whenever it comes round."""
