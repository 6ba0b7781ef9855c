"""A pool of threads that goes on where the system gives no further thread."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

from worker.logs.context import carried
from worker.resources import resource_error_of

logger = logging.getLogger(__name__)


class Threads(ThreadPoolExecutor):
    """Continues with its present threads when the system refuses a new one."""

    def submit(self, fn: Callable[..., Any], /, *arguments: Any, **options: Any) -> Future[Any]:
        """Call a function in a thread, for the job of the caller."""
        return super().submit(carried(partial(fn, *arguments, **options)))

    def _adjust_thread_count(self) -> None:
        try:
            super()._adjust_thread_count()
        except RuntimeError as error:
            if not self._threads or resource_error_of(error) is None:
                raise
            # The call is in the queue already: the next free thread makes it.
            logger.warning("No thread could be started; %d threads run", len(self._threads))
