"""What beat does besides persisting: waking, reconciling, cleaning up, counting."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import NamedTuple

from cache import CacheStats, DownloadProgress
from cache.manager import describe
from cache.progress_cleanup import CleanupReport
from database.clock_skew import correct_future_times
from domain.job import Job, JobStatus
from domain.limits import job_scope
from tasks.periodic import one_at_a_time
from worker.app import app
from worker.publishing import publish_jobs, publish_tidying
from worker.runtime import Runtime

logger = logging.getLogger(__name__)

#: A caller that stored a job is given this long to publish it itself. Seconds.
PUBLISHING_GRACE = 2.0
#: A message counts as lost when its job is still queued this long after it, or after that of the job at
#: the queue's head where there is one. Seconds.
DELIVERY_GRACE = 30.0


class Reconciled(NamedTuple):
    """What one reconcile repaired, in jobs."""

    orphaned: int
    """Running by SQL, without lock and silent: queued again, or ended as a person had asked."""
    published: int
    """Queued by SQL, without message: published."""
    reminded: int
    """Asked to pause or cancel: told once more."""


def wake(runtime: Runtime) -> int:
    """Queue and publish the jobs whose waiting is over, and those that nobody has published yet.

    Returns how many were published.
    """
    woken = runtime.jobs.wake_due(runtime.now())
    return len(woken) + _publish_unpublished(runtime) if publish_jobs(runtime, woken) else 0


def reconcile(runtime: Runtime) -> Reconciled:
    """Compare SQL with what is going on, and put right what does not fit."""
    _correct_future_times(runtime)  # first: what follows compares times
    orphaned = sum(_hand_on(runtime, job) for job in _orphans(runtime))
    published = _publish_unpublished(runtime) + _publish_lost(runtime)
    report = Reconciled(orphaned, published, _remind(runtime))
    if any(report):
        logger.info("Reconciled: %s", report)
    return report


def _correct_future_times(runtime: Runtime) -> None:
    """Let no job wait for a time that only a machine with a fast clock could write."""
    longest = runtime.settings.retry_backoff_max
    corrected = correct_future_times(runtime.database, runtime.now(), longest)
    if corrected:
        logger.warning(
            "%d jobs had times in the future: the clock of a worker is fast, or ours is slow",
            corrected,
        )


def _orphans(runtime: Runtime) -> list[Job]:
    """Return running jobs whose lock is gone and of which nothing was heard for a lock's life.

    The second condition matters when the store has lost its data: then locks are gone, but their
    workers may write until their leases end on their own clocks.
    """
    horizon = runtime.now() - timedelta(seconds=runtime.settings.orphan_after)
    quiet = runtime.jobs.running_since(horizon)
    locked = runtime.cache.which_locks_live([job.id for job in quiet])
    told = runtime.cache.download.get_many([job.id for job in quiet])
    return [job for job in quiet if job.id not in locked and not _is_told(job, told.get(job.id))]


def _is_told(job: Job, progress: DownloadProgress | None) -> bool:
    """Say whether the store still has this claim's word, or an end that is about to be saved."""
    return progress is not None and progress.fence == job.fence


def _hand_on(runtime: Runtime, job: Job) -> bool:
    """Do what the job's worker can do no more: hand it back, or stop it where a person wanted that."""
    moved = runtime.jobs.transition(
        job,
        JobStatus.QUEUED,
        now=runtime.now(),
        reason="its worker is gone",
        changes={"worker": None},
    )
    if moved is not None and moved.status is JobStatus.CANCELLED:
        publish_tidying(runtime, moved)
    return moved is not None


def _publish_unpublished(runtime: Runtime) -> int:
    before = runtime.now() - timedelta(seconds=PUBLISHING_GRACE)
    job_ids = runtime.jobs.unpublished(before)
    return len(job_ids) if publish_jobs(runtime, job_ids) else 0


def _publish_lost(runtime: Runtime) -> int:
    """Publish again what must have been taken from the queue long ago, and is still queued.

    The queue is first in, first out: a job published well before the one at its head is not in it.
    """
    lost_before = runtime.now() - timedelta(seconds=DELIVERY_GRACE)
    head = runtime.broker.head()
    if head is not None:
        first = runtime.jobs.get_many([head]).get(head)
        if first is None or first.published_at is None:
            return 0  # it tells nothing; once it is taken, the next one does
        lost_before = min(lost_before, first.published_at - timedelta(seconds=DELIVERY_GRACE))
    job_ids = runtime.jobs.published_before(lost_before)
    return len(job_ids) if publish_jobs(runtime, job_ids) else 0


def _remind(runtime: Runtime) -> int:
    """Tell workers once more what was asked of their jobs, in case the store lost it."""
    asked = runtime.jobs.with_control()
    for job in asked:
        runtime.cache.download.request_control(job.id, job.control or "", job.fence)
    return len(asked)


def cleanup_stale(runtime: Runtime) -> CleanupReport:
    """Remove what is left over: stale progress, index entries without hash, limits of ended jobs."""
    _lift_limits(runtime)
    report = runtime.cache.download.cleanup_stale_progress(runtime.settings.stale_after)
    if any(report):
        logger.info("Cleaned up: %s", report)
    return report


def _lift_limits(runtime: Runtime) -> None:
    """Take away the limits of jobs that have ended, or that nobody knows."""
    limits = runtime.cache.limits
    limited = [scope for scope in limits.rates() if scope.startswith(job_scope(""))]
    jobs = runtime.jobs.get_many([scope.removeprefix(job_scope("")) for scope in limited])
    lasting = {job_scope(job.id) for job in jobs.values() if not job.is_finished}
    limits.set_rates({scope: None for scope in limited if scope not in lasting})


def log_stats(runtime: Runtime) -> CacheStats:
    """Write the store's figures to the log."""
    stats = runtime.cache.stats()
    logger.info("Cache: %s", describe(stats))
    return stats


app.task(name="download.wake")(one_at_a_time(wake))
app.task(name="download.reconcile")(one_at_a_time(reconcile))
app.task(name="download.cleanup_stale")(one_at_a_time(cleanup_stale))
app.task(name="cache.log_stats")(one_at_a_time(log_stats))
