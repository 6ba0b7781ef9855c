"""Jobs that ended long ago leave the database, with their history."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, delete, func, select

from database.engine import Database
from database.job_rows import UNFINISHED_NAMES
from database.models import job_events, jobs

#: Jobs that one transaction deletes: a fraction of a second, in which SQLite's other writers wait.
BATCH = 500


class Deleted(NamedTuple):
    """What one transaction deleted."""

    job_ids: list[str]
    events: int


class Retention:
    """Finds and deletes jobs that have ended. Methods raise DatabaseUnavailableError without database.

    A job that is not finished is never touched, nor is its history, however old.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def count(self, finished_before: datetime) -> int:
        """Return how many jobs ended before then."""
        query = select(func.count()).select_from(jobs).where(_finished_before(finished_before))
        with self._database.read() as connection:
            return int(connection.execute(query).scalar_one())

    def delete_some(self, finished_before: datetime, *, limit: int = BATCH) -> Deleted:
        """Delete `limit` jobs that ended before then, or as many as there are, and their events.

        It waits for nobody, so two that delete at once cannot wait for each other: each passes by the
        jobs that the other one has, as it does by those that are being retried at this moment. No job
        deleted means that there is none left but such.
        """
        oldest = (
            select(jobs.c.id)
            .where(_finished_before(finished_before))
            .order_by(jobs.c.finished_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )

        def work(connection: Connection) -> Deleted:
            # From here to the commit these rows are ours. A retry comes before, and then its job is not
            # among them; or it comes after, and there is no job to retry.
            job_ids = list(connection.execute(oldest).scalars())
            if not job_ids:
                return Deleted([], 0)
            trails = delete(job_events).where(job_events.c.job_id.in_(job_ids))
            events = connection.execute(trails).rowcount
            connection.execute(delete(jobs).where(jobs.c.id.in_(job_ids)))
            return Deleted(job_ids, events)

        return self._database.transact(work)


def _finished_before(before: datetime) -> ColumnElement[bool]:
    # Put this way round the states name no index: that of `finished_at` then gives the oldest as they
    # come, where the other one would have all ended jobs sorted for each batch.
    return (jobs.c.finished_at < before) & jobs.c.status.not_in(UNFINISHED_NAMES)
