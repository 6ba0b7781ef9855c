"""A pool of threads that goes on where the system gives no further thread, or all are stuck."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

from worker.logs.context import carried
from worker.loop.relief import Relief
from worker.resources import resource_error_of

logger = logging.getLogger(__name__)


class Threads(ThreadPoolExecutor):
    """Continues with its present threads when the system refuses a new one.

    Args:
        max_workers: threads at most.
        thread_name_prefix: of their names.
        beside_stuck: further threads at most, which are started while all are stuck: calls wait, and
            none ends for a second.
    """

    def __init__(
        self, max_workers: int, *, thread_name_prefix: str = "", beside_stuck: int = 0
    ) -> None:
        super().__init__(max_workers, thread_name_prefix=thread_name_prefix)
        self._most = max_workers + beside_stuck
        #: Roughly: it shows only whether any call ends.
        self._ended = 0
        self._relief = Relief(self._work_queue.qsize, lambda: self._ended, self._add_threads)

    def submit(self, fn: Callable[..., Any], /, *arguments: Any, **options: Any) -> Future[Any]:
        """Call a function in a thread, for the job of the caller."""
        call = carried(partial(fn, *arguments, **options))
        future = super().submit(self._counted, call)
        if self._max_workers < self._most and not self._work_queue.empty():
            self._relief.watch()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Make the calls that wait, and end the threads."""
        self._relief.close()
        super().shutdown(wait, cancel_futures=cancel_futures)

    def _counted(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        finally:
            self._ended += 1

    def _add_threads(self, count: int) -> None:
        most = min(self._max_workers + count, self._most)
        with self._shutdown_lock:
            if self._shutdown:
                return
            added, self._max_workers = most - self._max_workers, most
            for _ in range(added):
                self._adjust_thread_count()

    def _adjust_thread_count(self) -> None:
        try:
            super()._adjust_thread_count()
        except RuntimeError as error:
            if not self._threads or resource_error_of(error) is None:
                raise
            # The call is in the queue already: the next free thread makes it.
            logger.warning("No thread could be started; %d threads run", len(self._threads))
