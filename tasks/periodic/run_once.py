"""A periodic task runs in one process at a time, however many beats send it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import TypeVar

from domain.errors import DatabaseUnavailableError, StoreError
from worker.app import current_runtime
from worker.exclusive import run_exclusive
from worker.metrics.task_run import TaskRun
from worker.runtime import Runtime

T = TypeVar("T")


def one_at_a_time(work: Callable[[Runtime], T]) -> Callable[[], T | None]:
    """Turn `work(runtime)` into a task body that returns None while another process runs it.

    Its lock is renewed while it works and released at its end. The lock of a process that dies expires
    within its TTL.
    """

    name = work.__name__
    what = f"The periodic task {name} could not run"

    @wraps(work)
    def body() -> T | None:
        runtime = current_runtime()
        do = partial(work, runtime)
        try:
            lock = runtime.cache.lock(f"task:{name}")
            with TaskRun(runtime.instruments, name) as run:
                result = run_exclusive(runtime.leases, lock, runtime.drain, lambda: run.do(do))
        except (StoreError, DatabaseUnavailableError) as error:
            # Log one line for each outage, not a traceback for each run: the next run tries again.
            runtime.outages.record_failure(what, error)
            return None
        runtime.outages.record_success(what)
        return result

    return body
