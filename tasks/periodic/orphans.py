"""Orphans: jobs that SQL has as running, but whose workers are gone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta

from cache import CacheManager, DownloadProgress
from database import JobRepository
from domain.job import FINISHED, Job, JobStatus
from settings import Settings
from tasks.periodic.persist import FinalStates
from worker.publishing import JobPublisher

#: Jobs that are read, compared and changed in one step.
BATCH = 500


class Orphans:
    """Finds orphans, and requeues them.

    Args:
        jobs: the rows.
        cache: locks, progress hashes, and whether the store has kept its data.
        publisher: publishes requeued jobs.
        clock: the wall clock, aware UTC.
        settings: for how long a worker may be silent.
    """

    def __init__(
        self,
        jobs: JobRepository,
        cache: CacheManager,
        publisher: JobPublisher,
        clock: Callable[[], datetime],
        settings: Settings,
    ) -> None:
        self._jobs, self._cache, self._publisher = jobs, cache, publisher
        self._clock, self._settings = clock, settings
        self._final_states = FinalStates(jobs, publisher, clock)

    def requeue(self) -> tuple[int, int]:
        """Requeue all orphans; return their number, and that of jobs found finished in the store."""
        settings = self._settings
        # While all processes run, SQL gets an update of a running job at least this often.
        quiet = min(
            settings.orphan_after, 2 * settings.heartbeat_interval + settings.persist_interval
        )
        # A missing lock means a dead worker only if the store has kept its data. Otherwise the worker
        # may write until its lease ends on its own clock.
        silence = quiet if self._has_store_kept_its_data() else settings.orphan_after
        orphaned = finished = 0
        for page in self._quiet_jobs(self._ago(quiet)):
            locked = self._cache.held_download_locks([job.id for job in page])
            free = [job for job in page if job.id not in locked]
            progress = self._progress_of(free)
            done = {job_id: one for job_id, one in progress.items() if one.status in FINISHED}
            finished += sum(self._final_states.save(one) for one in done.values())
            silent_since = self._ago(silence)
            orphaned += self._requeue_or_fail(
                [
                    job
                    for job in free
                    if job.id not in done
                    and _last_update(job, progress.get(job.id)) <= silent_since
                ]
            )
        return orphaned, finished

    def _has_store_kept_its_data(self) -> bool:
        # Called in each run, also without quiet jobs: the detector measures the time since its first
        # call.
        return self._cache.data_loss.seconds_without_loss() >= self._settings.lock_ttl

    def _ago(self, seconds: float) -> datetime:
        return self._clock() - timedelta(seconds=seconds)

    def _quiet_jobs(self, since: datetime) -> Iterator[list[Job]]:
        last: Job | None = None
        while page := self._jobs.running_not_updated_since(since, after=last, limit=BATCH):
            last = page[-1]
            yield page

    def _progress_of(self, jobs: Sequence[Job]) -> dict[str, DownloadProgress]:
        """Return the progress hashes of the jobs' newest claims, by job id."""
        hashes = self._cache.download.get_many([job.id for job in jobs])
        fences = {job.id: job.fence for job in jobs}
        return {job_id: one for job_id, one in hashes.items() if one.fence == fences[job_id]}

    def _requeue_or_fail(self, orphans: Sequence[Job]) -> int:
        """Requeue orphans, or apply their pending control requests.

        A job whose attempts are used up fails: it may be the cause of its workers' deaths.
        """
        moved = self._jobs.transition_many(
            [job for job in orphans if job.attempts < job.max_attempts],
            JobStatus.QUEUED,
            now=self._clock(),
            reason="its worker is gone",
            changes={"worker": None},
            may_leave_out=True,
        )
        moved += self._jobs.transition_many(
            [job for job in orphans if job.attempts >= job.max_attempts],
            JobStatus.FAILED,
            now=self._clock(),
            reason="Its worker is gone, and this was the last attempt.",
            changes={"error_code": "worker_lost"},
            may_leave_out=True,
        )
        self._publisher.publish(
            [job for job in moved if job.status is JobStatus.QUEUED], requeued=True
        )
        cancelled = [job for job in moved if job.status is JobStatus.CANCELLED]
        self._publisher.publish_for_file_removal(cancelled)
        return len(moved)


def _last_update(job: Job, progress: DownloadProgress | None) -> datetime:
    if progress is None or progress.updated_at is None:
        return job.updated_at
    return max(job.updated_at, progress.updated_at)
