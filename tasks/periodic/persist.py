"""From the progress hashes to SQL: what `download.persist_progress` does."""

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
    """Save the progress of every job whose hash has changed since the last time; return how many.

    A hash that changes meanwhile stays marked, so the next run saves it again. When the database is
    away nothing is unmarked, so nothing is lost.
    """
    saved = 0
    # What is unsaved now, each once: a job that changes all the time must not keep the others waiting.
    # What is no job id was written by another program; `cleanup_stale` removes it.
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
    """Save a final state that its worker could tell the store, but not the database any more.

    False when it changed meanwhile; True when SQL has it, or knows better.
    """
    job = runtime.jobs.get_many([progress.job_id]).get(progress.job_id)
    if job is None or job.fence != progress.fence or job.status not in RUNNING:
        return True
    changes = {
        "path": progress.path,
        "sha256": progress.sha256,
        "error_code": progress.error_code,
        "bytes_downloaded": progress.bytes_downloaded,
        "bytes_durable": progress.bytes_durable,
        "bytes_total": progress.bytes_total,
    }
    if progress.status not in TRANSITIONS[job.status]:
        # A file is completed by way of verifying; the database was away for that step, too.
        between = runtime.jobs.transition(job, JobStatus.VERIFYING, now=runtime.now())
        if between is None:
            return False
        job = between
    logger.info("The end of job %s (%s) reaches the database late", job.id, progress.status)
    ended = runtime.jobs.transition(
        job,
        progress.status,
        now=runtime.now(),
        reason=progress.reason,
        changes=changes,
        event_reason=history.finish_reason(
            progress.status,
            reason=progress.reason,
            there=progress.bytes_downloaded,
            kept=progress.bytes_durable,
            sha256=progress.sha256,
        ),
    )
    if ended is None:
        return False
    runtime.publisher.publish_cleanup([ended])  # its worker could not
    return True


def _row(progress: DownloadProgress, now: datetime) -> ProgressRow:
    return ProgressRow(
        job_id=progress.job_id,
        version=progress.version,
        bytes_downloaded=progress.bytes_downloaded,
        bytes_durable=progress.bytes_durable,
        bytes_total=progress.bytes_total,
        speed_mbps=progress.download_speed_mbps,
        reported_at=progress.updated_at or now,
    )


app.task(name="download.persist_progress")(one_at_a_time(persist_progress))
