"""What a new local stack puts right before it works: a stack that was killed took its store with it."""

from __future__ import annotations

from datetime import UTC, datetime

from database import Database, JobRepository, migrate
from domain.job import JobStatus
from settings import Settings


def recover(settings: Settings, before: datetime) -> int:
    """Bring the embedded database up to date and hand back what was running `before`; return how many.

    `reconcile` would find all of this too, but has to wait until locks must have expired. Here the
    locks are gone with their store, and so is every worker that could still write. A configured
    database has other users, about whom we know nothing: it is left to `reconcile`.
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
                # That a whole stack ended says nothing of this job.
                changes={"worker": None, "attempts": job.attempts - 1},
            )
            requeued += queued is not None
    return requeued
