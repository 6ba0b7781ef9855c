"""Removing finished jobs: their rows, histories and progress, and if wanted the files they published."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from database.retention import BATCH, Retention
from domain.errors import IllegalTransitionError, UnknownJobError
from domain.job import FINISHED, Job, JobFilter, JobStatus
from tasks.api.control import check_status, known_jobs, pages
from tasks.periodic.purge import remove_progress
from worker.app import current_runtime
from worker.cleanup.job_files import try_remove_job_files
from worker.runtime import Runtime
from worker.storage.published_file import FileKeptError, remove_published_file


@dataclass(slots=True)
class RemoveResult:
    """What was removed; each list is in the order of the arguments."""

    removed: list[Job] = field(default_factory=list)
    """As they were."""
    files: list[str] = field(default_factory=list)
    """The paths of removed files. A file that was gone already is not listed."""
    refused: list[IllegalTransitionError | FileKeptError] = field(default_factory=list)
    """Jobs that are not finished, and jobs whose file is another one now."""


def remove(job_id: str, *, with_file: bool = False, runtime: Runtime | None = None) -> Job:
    """Remove a finished job and its history, and return it as it was; its part file goes, too.

    Args:
        job_id: the whole id.
        with_file: remove the file that it published, too. It must be on this machine, with the content
            that it had when it was published.
        runtime: of this process.

    Raises:
        UnknownJobError: it does not exist.
        IllegalTransitionError: it is not finished: cancel it first.
        FileKeptError: its path has another file now; nothing was removed.
        DatabaseUnavailableError: without database; the file may be removed already.
    """
    result = remove_many([job_id], with_files=with_file, runtime=runtime)
    if result.refused:
        raise result.refused[0]
    for job in result.removed:
        return job
    raise UnknownJobError(job_id)  # it was removed at this moment


def remove_many(
    job_ids: Sequence[str], *, with_files: bool = False, runtime: Runtime | None = None
) -> RemoveResult:
    """Remove finished jobs; those that are not finished are listed in the result.

    Raises:
        UnknownJobError: one of them does not exist; nothing was removed.
    """
    runtime = runtime or current_runtime()
    remover = _Remover(runtime, with_files=with_files)
    wanted = list(known_jobs(runtime.jobs, job_ids).values())
    for start in range(0, len(wanted), BATCH):
        remover.remove(wanted[start : start + BATCH])
    return remover.result


def remove_matching(
    where: JobFilter,
    *,
    runtime: Runtime | None = None,
    progress: Callable[[int], None] = lambda _count: None,
) -> RemoveResult:
    """Remove all finished jobs that fit a filter; the files that they published stay.

    Args:
        where: the filter.
        runtime: of this process.
        progress: called after each batch with the number of jobs removed so far.

    Raises:
        InvalidInputError: the filter names a state of unfinished jobs; nothing was removed.
    """
    runtime = runtime or current_runtime()
    check_status(where, FINISHED, "removed")
    remover = _Remover(runtime, with_files=False)
    for page in pages(runtime.jobs, where, sorted(FINISHED)):
        remover.remove(list(runtime.jobs.get_many(page).values()))
        progress(len(remover.result.removed))
    remover.result.refused.clear()  # a retry at the same moment; a filter names no job by its id
    return remover.result


class _Remover:
    """Removes jobs batch by batch, and collects the `result`."""

    def __init__(self, runtime: Runtime, *, with_files: bool) -> None:
        self._runtime = runtime
        self._with_files = with_files
        self._retention = Retention(runtime.database)
        self.result = RemoveResult()

    def remove(self, batch: Sequence[Job]) -> None:
        """Remove the finished ones of these jobs."""
        ready = [job for job in batch if self._may_remove(job)]
        gone = set(self._retention.delete_finished([job.id for job in ready]).job_ids)
        # Read again: the others were retried, or removed by another caller, since they were read.
        others = self._runtime.jobs.get_many([job.id for job in ready if job.id not in gone])
        self.result.refused += [_not_finished(job) for job in others.values()]
        removed = [job for job in ready if job.id in gone]
        remove_progress(self._runtime.cache.download, [job.id for job in removed])
        for job in removed:
            try_remove_job_files(
                self._runtime.jobs,
                self._runtime.destinations,
                self._runtime.recorded_folder,
                job,
            )
        self.result.removed += removed

    def _may_remove(self, job: Job) -> bool:
        """Return whether a job is finished and its file, if it is to go, is gone.

        The file goes first: after a failure in between, the same call removes the rest.
        """
        if not job.is_finished:
            self.result.refused.append(_not_finished(job))
            return False
        if not self._with_files or job.status is not JobStatus.COMPLETED:
            return True
        path, finished_at = job.path, job.finished_at
        if path is None or finished_at is None:
            return True
        try:
            if remove_published_file(job.id, path, sha256=job.sha256, finished_at=finished_at):
                self.result.files.append(path)
        except FileKeptError as error:
            self.result.refused.append(error)
            return False
        return True


def _not_finished(job: Job) -> IllegalTransitionError:
    return IllegalTransitionError(job.id, job.status, "removed", advice="Cancel it first.")
