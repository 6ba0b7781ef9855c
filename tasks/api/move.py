"""Giving jobs another priority: the queue they wait in, now and later."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from domain.errors import IllegalTransitionError, UnknownJobError
from domain.job import UNFINISHED, Job, JobFilter, JobStatus, Priority
from tasks.api.control import BATCH, ControlResult, check_status, known_jobs, pages
from worker.app import current_runtime
from worker.runtime import Runtime


def move(job_id: str, priority: Priority, *, runtime: Runtime | None = None) -> Job:
    """Give one job another priority and return it; see `move_many`.

    Raises:
        IllegalTransitionError: it is finished.
    """
    result = move_many([job_id], priority, runtime=runtime)
    if result.refused:
        raise result.refused[0]
    for job in result.changed or result.unchanged:
        return job
    raise UnknownJobError(job_id)  # it was purged at this moment


def move_many(
    job_ids: Sequence[str], priority: Priority, *, runtime: Runtime | None = None
) -> ControlResult:
    """Give jobs another priority: queued ones move to its queue, others use it the next time.

    Raises:
        UnknownJobError: one of them does not exist; nothing was changed.
        DatabaseUnavailableError: without database.
    """
    runtime = runtime or current_runtime()
    wanted = list(known_jobs(runtime, job_ids).values())
    result = ControlResult()
    for start in range(0, len(wanted), BATCH):
        _move(wanted[start : start + BATCH], priority, runtime, result)
    return result


def move_matching(
    where: JobFilter,
    priority: Priority,
    *,
    runtime: Runtime | None = None,
    progress: Callable[[int], None] = lambda _count: None,
) -> ControlResult:
    """Give all unfinished jobs that fit a filter another priority.

    Raises:
        InvalidInputError: the filter names a state of finished jobs; nothing was changed.
    """
    runtime = runtime or current_runtime()
    check_status(where, UNFINISHED, "moved")
    result = ControlResult()
    for page in pages(runtime, where, sorted(UNFINISHED)):
        _move(list(runtime.jobs.get_many(page).values()), priority, runtime, result)
        progress(len(result.changed))
    result.unchanged.clear()  # a filter names no job by its id
    return result


def _move(jobs: Sequence[Job], priority: Priority, runtime: Runtime, result: ControlResult) -> None:
    moved = {job.id: job for job in runtime.jobs.move(jobs, priority, now=runtime.now())}
    runtime.publisher.publish([job for job in moved.values() if job.status is JobStatus.QUEUED])
    # Read again: the others may be finished, or moved by another caller, since they were read.
    others = runtime.jobs.get_many([job.id for job in jobs if job.id not in moved])
    for job in jobs:
        if job.id in moved:
            result.changed.append(moved[job.id])
        elif job.id in others and others[job.id].is_finished:
            result.refused.append(IllegalTransitionError(job.id, others[job.id].status, "moved"))
        elif job.id in others:
            result.unchanged.append(others[job.id])
