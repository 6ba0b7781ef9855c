"""Copying progress hashes to SQL: the task `download.persist_progress`."""

from __future__ import annotations

import logging
from datetime import datetime

from cache import DownloadProgress
from database.job_rows import ProgressRow
from domain import history
from domain.ids import is_job_id
from domain.job import FINISHED, RUNNING, TRANSITIONS, JobStatus
from tasks.periodic.run_once import one_at_a_time
from worker.app import app
from worker.runtime import Runtime

logger = logging.getLogger(__name__)

#: Jobs read, written and marked in one step.
BATCH = 500


def persist_progress(runtime: Runtime) -> int:
    """Save the progress of every job whose hash has changed since the last run; return how many.

    A hash that changes meanwhile stays marked, and the next run saves it again. Without database, all
    stay marked.
    """
    saved = 0
    # Each job once, also if it changes meanwhile: a busy one must not delay the others. An entry that is
    # no job id was written by another program; `cleanup_stale` removes it.
    unsaved = [job_id for job_id, _ in runtime.cache.download.dirty() if is_job_id(job_id)]
    for start in range(0, len(unsaved), BATCH):
        progresses = runtime.cache.download.get_many(unsaved[start : start + BATCH])
        _save(runtime, list(progresses.values()))
        saved += len(progresses)
    return saved


def _save(runtime: Runtime, progresses: list[DownloadProgress]) -> None:
    now = runtime.now()
    running = [p for p in progresses if p.status in RUNNING]
    runtime.jobs.save_progress([_row(progress, now) for progress in running], now)
    finished = [p for p in progresses if p.status in FINISHED and save_final_state(runtime, p)]
    runtime.cache.download.mark_persisted(
        [(progress.job_id, progress.version) for progress in progresses],
        [progress.job_id for progress in finished],
    )


def save_final_state(runtime: Runtime, progress: DownloadProgress) -> bool:
    """Save a final state that its worker could write to the store alone, for lack of the database.

    False when the job changed meanwhile; True when SQL has this state, or a newer claim.
    """
    job = runtime.jobs.get_many([progress.job_id]).get(progress.job_id)
    if job is None or job.fence != progress.fence or job.status not in RUNNING:
        return True
    if progress.status not in TRANSITIONS[job.status]:
        # A job is completed from verifying, and the database lacks that step, too.
        verifying = runtime.jobs.transition(job, JobStatus.VERIFYING, now=runtime.now())
        if verifying is None:
            return False
        job = verifying
    logger.info("Job %s: saving %s, which only the store has", job.id, progress.status)
    finished = runtime.jobs.transition(
        job,
        progress.status,
        now=runtime.now(),
        reason=progress.reason,
        changes=_final_columns(progress),
        event_reason=history.finish_reason(
            progress.status,
            progress.counts,
            reason=progress.reason,
            sha256=progress.sha256,
        ),
    )
    if finished is None:
        return False
    runtime.publisher.publish_for_file_removal([finished])  # its worker could not
    return True


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
