"""Jobs that `seen get` finds for its requests: they are continued, as this command wants them."""

from __future__ import annotations

from collections.abc import Collection

import tasks
from domain.errors import StoreError
from domain.job import Job, JobStatus, Priority
from domain.limits import job_scope
from domain.request import DownloadRequest
from worker.runtime import Runtime

_ORDER = tuple(Priority)


def resume_earlier(jobs: Collection[Job], runtime: Runtime) -> set[str]:
    """Resume jobs that wait or are paused; return their ids. Others are running or queued."""
    stopped = {JobStatus.WAITING, JobStatus.PAUSED}
    resumed = [job.id for job in jobs if job.status in stopped or job.control == "pause"]
    if resumed:  # one that has just finished is refused in the result
        tasks.control_many(tasks.Action.RESUME, resumed, runtime=runtime)
    queued = [job for job in jobs if job.status is JobStatus.QUEUED]
    if queued:
        # Their messages may be lost with the store of an earlier stack; second messages are harmless.
        runtime.publisher.publish(queued)
    return set(resumed)


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
