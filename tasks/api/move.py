"""Giving jobs another priority: the queue they wait in, now and later."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from database import JobRepository
from domain.errors import IllegalTransitionError, UnknownJobError
from domain.job import UNFINISHED, Job, JobFilter, JobStatus, Priority
from tasks.api.control import BATCH, ControlResult, check_status, known_jobs, pages
from worker.app import current_runtime
from worker.publishing import JobPublisher
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
    mover = _Mover(priority, runtime.jobs, runtime.publisher, runtime.now)
    wanted = list(known_jobs(runtime.jobs, job_ids).values())
    for start in range(0, len(wanted), BATCH):
        mover.move(wanted[start : start + BATCH])
    return mover.result


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
    jobs = runtime.jobs
    mover = _Mover(priority, jobs, runtime.publisher, runtime.now)
    for page in pages(jobs, where, sorted(UNFINISHED)):
        mover.move(list(jobs.get_many(page).values()))
        progress(len(mover.result.changed))
    mover.result.unchanged.clear()  # a filter names no job by its id
    return mover.result


class _Mover:
    """Moves jobs to one priority, batch by batch, and collects the `result`."""

    def __init__(
        self,
        priority: Priority,
        jobs: JobRepository,
        publisher: JobPublisher,
        clock: Callable[[], datetime],
    ) -> None:
        self._priority, self._jobs = priority, jobs
        self._publisher, self._clock = publisher, clock
        self.result = ControlResult()

    def move(self, batch: Sequence[Job]) -> None:
        moved = {job.id: job for job in self._jobs.move(batch, self._priority, now=self._clock())}
        self._publisher.publish([job for job in moved.values() if job.status is JobStatus.QUEUED])
        # Read again: the others may be finished, or moved by another caller, since they were read.
        others = self._jobs.get_many([job.id for job in batch if job.id not in moved])
        for job in batch:
            if job.id in moved:
                self.result.changed.append(moved[job.id])
            elif job.id in others:
                self._add_unmoved(others[job.id])

    def _add_unmoved(self, job: Job) -> None:
        if job.is_finished:
            self.result.refused.append(IllegalTransitionError(job.id, job.status, "moved"))
        else:
            self.result.unchanged.append(job)
