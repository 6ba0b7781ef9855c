"""Celery's thread pool, with one thing added: a freed slot asks for the next message at once."""

from __future__ import annotations

from typing import Any

from celery.concurrency.thread import TaskPool as ThreadPool
from kombu.asynchronous import get_event_loop


class TaskPool(ThreadPool):
    """Threads whose end wakes the consumer.

    With `worker_disable_prefetch` a full worker stops asking the broker. Celery's thread pool does not
    tell the event loop when a slot becomes free, so the next message would wait until the loop wakes by
    itself, up to a second.
    """

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
