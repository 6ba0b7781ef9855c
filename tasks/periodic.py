"""A periodic task runs once at a time, whoever's beat ticks and however long it takes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import TypeVar

from worker.app import current_runtime
from worker.runtime import Runtime
from worker.stop import StopSignal

logger = logging.getLogger(__name__)

T = TypeVar("T")


def one_at_a_time(work: Callable[[Runtime], T]) -> Callable[[], T | None]:
    """Turn `work(runtime)` into a task body that does nothing while another one still runs.

    Its lock is renewed while it works and given back at its end; when its process dies, the lock
    outlives it by no more than the lock's TTL. Returns None where another one runs.
    """

    @wraps(work)
    def body() -> T | None:
        runtime = current_runtime()
        resource = f"task:{work.__name__}"
        lease = runtime.leases.hold(runtime.cache.lock(resource), StopSignal(runtime.drain))
        if lease is None:
            logger.info("%s still runs elsewhere; this tick is left out", work.__name__)
            return None
        try:
            return work(runtime)
        finally:
            runtime.leases.release(lease)

    return body
