"""Requeues the jobs of a local stack that was killed, when the next one starts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from database import Database, JobRepository, migrate
from domain.job import JobStatus

if TYPE_CHECKING:
    from settings import Settings


def recover(settings: Settings, before: datetime) -> int:
    """Migrate the embedded database, requeue jobs that ran before a time, and return their number.

    Reconcile requeues them too, but only when their locks have expired. Here that is not needed: the
    store ended with its stack, and so did every worker. A configured database may have other workers,
    so it is left to reconcile.
    """
    if settings.database_url is not None:
        return 0
    database = Database(settings.sqlalchemy_url())
    try:
        migrate.upgrade(database)
        jobs = JobRepository(database)
        jobs.mark_messages_lost(before)
        return _requeue_running(jobs, before)
    finally:
        database.close()


def _requeue_running(jobs: JobRepository, before: datetime) -> int:
    requeued = 0
    while left := jobs.running_not_updated_since(before):
        for job in left:
            queued = jobs.transition(
                job,
                JobStatus.QUEUED,
                now=datetime.now(UTC),
                reason="its worker is gone",
                # The attempt is not counted: the whole stack ended.
                changes={"worker": None, "attempts": job.attempts - 1},
            )
            requeued += queued is not None
    return requeued
