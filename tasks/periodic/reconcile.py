"""The task `download.reconcile`: compares SQL with the store, and corrects what differs.

Each case is found without reading every job, corrected by a compare-and-set (so two at once do no harm),
counted, and noted in the job's history.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from cache import CacheManager, DownloadProgress
from cache.downloads.download_cache import DownloadCache
from database import JobRepository
from database.clock_skew import correct_future_times
from database.engine import Database
from database.retention import Retention
from domain.ids import is_job_id
from domain.job import RUNNING, Job
from tasks.periodic.missing_messages import MissingMessages
from tasks.periodic.orphans import Orphans
from tasks.periodic.run_once import one_at_a_time
from worker.app import app
from worker.runtime import Runtime

logger = logging.getLogger(__name__)

#: Jobs that are read, compared and changed in one step.
BATCH = 500
#: A change may reach SQL and the store at times that differ by this much. Seconds.
CONVERGENCE_GRACE = 5.0


class Reconciled(NamedTuple):
    """What one run corrected, in numbers of jobs."""

    orphaned: int
    """Jobs that SQL has as running, without lock and updates: requeued, failed, paused or cancelled."""
    ended: int
    """Jobs that SQL had as running although the store had their final state: saved to SQL."""
    published: int
    """Queued jobs without a message: published."""
    resent: int
    """Jobs with a pending control request that the store lacked: sent to the store again."""
    stopped: int
    """Jobs that a worker ran but that did not run in SQL: the worker was stopped."""
    removed: int
    """Jobs that ran in the store alone, without a worker: the progress was removed."""


def reconcile(runtime: Runtime) -> Reconciled:
    """Compare SQL with the store, and correct what differs."""
    jobs, cache, publisher, now = runtime.jobs, runtime.cache, runtime.publisher, runtime.now
    settings = runtime.settings
    # First: what follows compares times.
    _correct_future_times(runtime.database, now(), settings.retry_backoff_max)
    orphaned, ended = Orphans(jobs, cache, publisher, now, settings).requeue()
    messages = MissingMessages(jobs, runtime.broker, publisher, now)
    published = messages.publish_unpublished() + messages.publish_lost()
    resent = _resend_controls(jobs, cache.download, now)
    stopped, removed = _stop_unknown_runs(jobs, cache, now)
    Retention(runtime.database).merge_counts()
    report = Reconciled(orphaned, ended, published, resent, stopped, removed)
    if any(report):
        logger.info("Reconciled: %s", report)
    return report


def _correct_future_times(database: Database, now: datetime, longest_backoff: float) -> None:
    """Correct times that a machine with a fast clock has written."""
    corrected = correct_future_times(database, now, longest_backoff)
    if corrected:
        logger.warning(
            "%d jobs had times in the future: the clock of a worker is fast, or this one is slow",
            corrected,
        )


def _resend_controls(
    jobs: JobRepository, progress: DownloadCache, clock: Callable[[], datetime]
) -> int:
    """Copy to the store those pending control requests that it lacks; return how many."""
    pending = jobs.pending_controls()
    known = progress.apply([], [(job.id, job.fence) for job in pending])
    missing = [
        job for job, reply in zip(pending, known, strict=True) if reply.control != job.control
    ]
    for control in ("pause", "cancel"):
        claims = [(job.id, job.fence) for job in missing if job.control == control]
        progress.request_control_many(control, claims)
        note = f"{control} was requested from its worker again"
        jobs.note_many([job_id for job_id, _ in claims], note, now=clock())
    return len(missing)


# ── runs that SQL does not know ─────────────────────────────────────────────────────────────────


def _stop_unknown_runs(
    jobs: JobRepository, cache: CacheManager, clock: Callable[[], datetime]
) -> tuple[int, int]:
    """Stop downloads that run in the store but not in SQL, or not under this claim.

    Returns how many workers were stopped, and how many hashes without worker were removed.
    """
    stopped = removed = 0
    after: str | None = None
    while True:
        page = cache.download.page_active_downloads(after=after, limit=BATCH)
        running = [one for one in page.items if is_job_id(one.job_id)]
        unknown = _unknown_runs(running, jobs, clock())
        alive = cache.held_download_locks([one.job_id for one in unknown])
        leaving = [one for one in unknown if one.job_id in alive]
        gone = [one.job_id for one in unknown if one.job_id not in alive]
        cache.download.request_control_many("leave", [(one.job_id, one.fence) for one in leaving])
        cache.download.remove(*gone)
        for job_ids, note in (
            ([one.job_id for one in leaving], "a worker that still ran it was stopped"),
            (gone, "progress of a run without worker was removed"),
        ):
            jobs.note_many(job_ids, note, now=clock())
        stopped, removed = stopped + len(leaving), removed + len(gone)
        after = page.next_after
        if after is None:
            return stopped, removed


def _unknown_runs(
    running: Sequence[DownloadProgress], jobs: JobRepository, now: datetime
) -> list[DownloadProgress]:
    rows = jobs.get_many([progress.job_id for progress in running])
    changed_before = now - timedelta(seconds=CONVERGENCE_GRACE)
    return [one for one in running if _is_unknown(one, rows.get(one.job_id), changed_before)]


def _is_unknown(progress: DownloadProgress, job: Job | None, changed_before: datetime) -> bool:
    if job is None:
        return True
    if job.updated_at > changed_before:
        return False
    return job.fence > progress.fence or (job.fence == progress.fence and job.status not in RUNNING)


app.task(name="download.reconcile")(one_at_a_time(reconcile))
