"""A periodic task runs once at a time, whoever's beat ticks and however long it takes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import TypeVar

from domain.errors import DatabaseUnavailableError, StoreUnavailableError
from worker.alone import run_alone
from worker.app import current_runtime
from worker.runtime import Runtime

logger = logging.getLogger(__name__)

T = TypeVar("T")


def one_at_a_time(work: Callable[[Runtime], T]) -> Callable[[], T | None]:
    """Turn `work(runtime)` into a task body that does nothing while another one still runs.

    Its lock is renewed while it works and given back at its end; when its process dies, the lock
    outlives it by no more than the lock's TTL. Returns None where another one runs.
    """

    @wraps(work)
    def body() -> T | None:
        try:
            return run_alone(current_runtime(), work)
        except (StoreUnavailableError, DatabaseUnavailableError) as error:
            # One line, not a traceback at every tick: the next tick tries again.
            logger.warning("%s could not run: %s", work.__name__, error)
            return None

    return body
