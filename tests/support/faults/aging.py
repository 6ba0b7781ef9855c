"""Makes rows, keys and files older, so that tests do not wait."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import update

from database.models import jobs
from tests.support.services.system import System


def age_jobs(system: System, *, seconds: float = 60) -> None:
    """Move `updated_at`, `published_at` and `next_attempt_at` of every job into the past."""
    past = system.runtime.now() - timedelta(seconds=seconds)
    with system.runtime.database.write() as connection:
        connection.execute(update(jobs).values(updated_at=past))
        for column in (jobs.c.published_at, jobs.c.next_attempt_at):
            statement = update(jobs).where(column.is_not(None)).values({column.name: past})
            connection.execute(statement)


def make_due(system: System) -> None:
    """End the back-off of all waiting jobs, and requeue them."""
    age_jobs(system)
    assert system.runtime.jobs.requeue_due(system.runtime.now())
