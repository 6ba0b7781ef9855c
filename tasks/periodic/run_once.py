"""A periodic task runs once at a time, whoever's beat ticks and however long it takes."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TypeVar

from domain.errors import DatabaseUnavailableError, StoreError
from worker.app import current_runtime
from worker.exclusive import run_exclusive
from worker.runtime import Runtime

T = TypeVar("T")


def one_at_a_time(work: Callable[[Runtime], T]) -> Callable[[], T | None]:
    """Turn `work(runtime)` into a task body that does nothing while another one still runs.

    Its lock is renewed while it works and given back at its end; when its process dies, the lock
    outlives it by no more than the lock's TTL. Returns None where another one runs.
    """

    what = f"The periodic task {work.__name__} could not run"

    @wraps(work)
    def body() -> T | None:
        runtime = current_runtime()
        try:
            lock = runtime.cache.lock(f"task:{work.__name__}")
            result = run_exclusive(runtime.leases, lock, runtime.drain, lambda: work(runtime))
        except (StoreError, DatabaseUnavailableError) as error:
            # One line an outage, not a traceback at every tick: the next tick tries again.
            runtime.outages.record_failure(what, error)
            return None
        runtime.outages.record_success(what)
        return result

    return body
