"""Jobs that `seen get` finds for its requests: they are continued, as this command wants them."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress

import tasks
from domain.errors import IllegalTransitionError, StoreError
from domain.job import Job, JobStatus, Priority
from domain.limits import job_scope
from domain.request import DownloadRequest
from worker.runtime import Runtime

_ORDER = tuple(Priority)


def resume_earlier(job: Job, runtime: Runtime) -> bool:
    """Resume a job that waits or is paused; return False for one that is running or queued."""
    if job.status in {JobStatus.WAITING, JobStatus.PAUSED} or job.control == "pause":
        with suppress(IllegalTransitionError):  # it has just finished
            tasks.resume(job.id, runtime=runtime)
        return True
    if job.status is JobStatus.QUEUED:
        # Its message may be lost with the store of an earlier stack; a second message is harmless.
        runtime.publisher.publish([job])
    return False


def adapt_earlier(jobs: Collection[Job], request: DownloadRequest, runtime: Runtime) -> list[str]:
    """Give jobs the rate of a request, and its priority if that is higher; return lines to print.

    Args:
        jobs: as they were found.
        request: one of this command; all of them have the same options.
        runtime: of this process.
    """
    lower = _ORDER[_ORDER.index(request.priority) + 1 :]
    tasks.move_many(
        [job.id for job in jobs if job.priority in lower], request.priority, runtime=runtime
    )
    rate = request.max_rate
    changes: dict[str, int | None] = {
        job_scope(job.id): rate for job in jobs if rate is not None and rate != job.max_rate
    }
    try:
        runtime.cache.limits.set_rates(changes)
    except StoreError as error:
        return [f"The rate of an earlier download could not be set. {error}"]
    return []
