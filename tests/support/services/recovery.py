"""The parts of periodic tasks that tests call on a runtime."""

from __future__ import annotations

from tasks.periodic.orphans import Orphans
from worker.runtime import Runtime


def requeue_orphans(runtime: Runtime) -> tuple[int, int]:
    """Requeue orphans as `reconcile` does; return their number, and that of jobs found finished."""
    return Orphans(
        runtime.jobs, runtime.cache, runtime.publisher, runtime.now, runtime.settings
    ).requeue()
