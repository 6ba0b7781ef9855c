"""Copying progress hashes to SQL: the task `download.persist_progress`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime

from cache import DownloadProgress
from database import JobRepository
from database.job_rows import ProgressRow
from domain import history
from domain.ids import is_job_id
from domain.job import FINISHED, RUNNING, TRANSITIONS, Job, JobStatus
from tasks.periodic.run_once import one_at_a_time
from worker import tracing
from worker.app import app
from worker.publishing import JobPublisher
from worker.runtime import Runtime

logger = logging.getLogger(__name__)

#: Jobs read, written and marked in one step.
BATCH = 500


def persist_progress(runtime: Runtime) -> int:
    """Save the progress of every job whose hash has changed since the last run; return how many.

    A hash that changes meanwhile stays marked, and the next run saves it again. Without database, all
    stay marked.
    """
    jobs, download = runtime.jobs, runtime.cache.download
    final_states = FinalStates(jobs, runtime.publisher, runtime.now)
    saved = 0
    # Each job once, also if it changes meanwhile: a busy one must not delay the others. An entry that is
    # no job id was written by another program; `cleanup_stale` removes it.
    unsaved = [job_id for job_id, _ in download.dirty() if is_job_id(job_id)]
    for start in range(0, len(unsaved), BATCH):
        found = list(download.get_many(unsaved[start : start + BATCH]).values())
        now = runtime.now()
        running = [_row(one, now) for one in found if one.status in RUNNING]
        locked = set(jobs.save_progress(running, now))
        found = [one for one in found if one.job_id not in locked]
        finished = [one for one in found if one.status in FINISHED and final_states.save(one)]
        download.mark_persisted(
            [(one.job_id, one.version) for one in found], [one.job_id for one in finished]
        )
        saved += len(found)
    return saved


class FinalStates:
    """Saves final states that workers could write only to the store: the database did not answer.

    Args:
        jobs: the rows.
        publisher: publishes the jobs whose files are to be removed.
        clock: the wall clock, aware UTC.
    """

    def __init__(
        self, jobs: JobRepository, publisher: JobPublisher, clock: Callable[[], datetime]
    ) -> None:
        self._jobs, self._publisher, self._clock = jobs, publisher, clock

    def save(self, progress: DownloadProgress) -> bool:
        """Save the final state in a progress hash.

        False when the job changed meanwhile; True when SQL has this state, or a newer claim.
        """
        job = self._jobs.get_many([progress.job_id]).get(progress.job_id)
        if job is None or job.fence != progress.fence or job.status not in RUNNING:
            return True
        if progress.status not in TRANSITIONS[job.status]:
            # A job is completed from verifying, and the database lacks that step, too.
            verifying = self._jobs.transition(job, JobStatus.VERIFYING, now=self._clock())
            if verifying is None:
                return False
            job = verifying
        logger.info("Job %s: saving %s, which only the store has", job.id, progress.status)
        finished = self._finish(job, progress)
        if finished is None:
            return False
        tracing.job_ended(finished)
        self._publisher.publish_for_file_removal([finished])  # its worker could not
        return True

    def _finish(self, job: Job, progress: DownloadProgress) -> Job | None:
        return self._jobs.transition(
            job,
            progress.status,
            now=self._clock(),
            reason=progress.reason,
            changes=_final_columns(progress),
            event_reason=history.finish_reason(
                progress.status,
                progress.counts,
                reason=progress.reason,
                sha256=progress.sha256,
            ),
        )


def _final_columns(progress: DownloadProgress) -> dict[str, object]:
    return {
        "path": progress.path,
        "sha256": progress.sha256,
        "error_code": progress.error_code,
        **progress.counts.as_fields(),
    }


def _row(progress: DownloadProgress, now: datetime) -> ProgressRow:
    return ProgressRow(
        job_id=progress.job_id,
        version=progress.version,
        counts=progress.counts,
        speed_mbps=progress.download_speed_mbps,
        reported_at=progress.updated_at or now,
    )


app.task(name="download.persist_progress")(one_at_a_time(persist_progress))
