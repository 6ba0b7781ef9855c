"""Periodic tasks besides persist and reconcile: requeue due jobs, clean up, log statistics."""

from __future__ import annotations

import logging

from cache import CacheStats
from cache.coordination.transfer_limits import TransferLimits
from cache.downloads.cleanup import CleanupReport
from cache.stats import describe
from database import JobRepository
from domain.ids import is_job_id
from domain.limits import job_scope
from tasks.periodic.missing_messages import MissingMessages
from tasks.periodic.orphans import Orphans
from tasks.periodic.run_once import one_at_a_time
from tasks.webhooks.background import deliver_in_background
from worker.app import app, current_runtime
from worker.broker.task_messages import FORMER_REQUEUE_DUE_TASK, REQUEUE_DUE_TASK
from worker.runtime import Runtime

logger = logging.getLogger(__name__)


def requeue_due(runtime: Runtime) -> int:
    """Queue and publish jobs whose back-off is over, jobs without a message, and orphans.

    Returns how many were queued or published.
    """
    jobs, publisher, now = runtime.jobs, runtime.publisher, runtime.now
    requeued = jobs.requeue_due(now())
    if publisher.publish(requeued) is None:
        return 0
    orphaned, _ = Orphans(jobs, runtime.cache, publisher, now, runtime.settings).requeue()
    published = MissingMessages(jobs, runtime.broker, publisher, now).publish_unpublished()
    return len(requeued) + orphaned + published


def cleanup_stale(runtime: Runtime) -> CleanupReport:
    """Remove stale progress, index entries without a hash, and rate limits of finished jobs."""
    _remove_limits_of_finished_jobs(runtime.cache.limits, runtime.jobs)
    report = runtime.cache.download.cleanup_stale_progress(runtime.settings.stale_after)
    if any(report):
        logger.info("Cleaned up: %d stale, %d index entries without progress", *report[:2])
    note = "the store listed it without progress; the entry was removed"
    runtime.jobs.note_many(
        [one for one in report.job_ids if is_job_id(one)], note, now=runtime.now()
    )
    return report


def _remove_limits_of_finished_jobs(limits: TransferLimits, jobs: JobRepository) -> None:
    """Remove the rate limits of jobs that are finished or do not exist."""
    limited = [scope for scope in limits.rates() if scope.startswith(job_scope(""))]
    job_ids = [scope.removeprefix(job_scope("")) for scope in limited]
    found = jobs.get_many([one for one in job_ids if is_job_id(one)])
    lasting = {job_scope(job.id) for job in found.values() if not job.is_finished}
    limits.set_rates({scope: None for scope in limited if scope not in lasting})


def log_stats(runtime: Runtime) -> CacheStats:
    """Write the store's figures to the log."""
    stats = runtime.cache.stats()
    logger.info("Cache: %s", describe(stats))
    return stats


_requeue_due = one_at_a_time(requeue_due)


def _requeue_and_deliver() -> int | None:
    """Do `requeue_due`, and have due deliveries made.

    These have no message of their own: workers of the version before would refuse it.
    """
    deliver_in_background(current_runtime())
    return _requeue_due()


for _name in (REQUEUE_DUE_TASK, FORMER_REQUEUE_DUE_TASK):
    app.task(name=_name)(_requeue_and_deliver)
app.task(name="download.cleanup_stale")(one_at_a_time(cleanup_stale))
app.task(name="cache.log_stats")(one_at_a_time(log_stats))
