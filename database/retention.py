"""Deleting jobs that finished long ago, with their histories."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, delete, func, select

from database.engine import Database
from database.job_rows import UNFINISHED_NAMES
from database.models import job_events, jobs

#: Jobs deleted in one transaction. It takes a fraction of a second, and SQLite's other writers wait.
BATCH = 500


class Deleted(NamedTuple):
    """What one transaction deleted."""

    job_ids: list[str]
    events: int


class Retention:
    """Finds and deletes finished jobs. Methods raise DatabaseUnavailableError without database.

    Unfinished jobs and their histories stay, whatever their age.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def count(self, finished_before: datetime) -> int:
        """Return how many jobs finished before then."""
        query = select(func.count()).select_from(jobs).where(_finished_before(finished_before))
        with self._database.read() as connection:
            return int(connection.execute(query).scalar_one())

    def delete_some(self, finished_before: datetime, *, limit: int = BATCH) -> Deleted:
        """Delete at most `limit` jobs that finished before then, and their events.

        Locked rows are skipped, such as those of a concurrent deletion or retry, so two deletions never
        wait for each other. If nothing is deleted, only locked rows are left.
        """
        oldest = (
            select(jobs.c.id)
            .where(_finished_before(finished_before))
            .order_by(jobs.c.finished_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )

        return self._database.transact(lambda connection: _delete(connection, oldest))

    def delete_finished(self, job_ids: Sequence[str]) -> Deleted:
        """Delete those of at most `BATCH` jobs that are finished, and their events."""
        finished = (
            select(jobs.c.id)
            .where(jobs.c.id.in_(job_ids), jobs.c.status.not_in(UNFINISHED_NAMES))
            .order_by(jobs.c.id)
            .with_for_update()
        )
        if not job_ids:
            return Deleted([], 0)
        return self._database.transact(lambda connection: _delete(connection, finished))


def _delete(connection: Connection, chosen: Select[Any]) -> Deleted:
    # These rows are locked until the commit. A retry before that has changed its job's status; a retry
    # after it finds no job.
    job_ids = list(connection.execute(chosen).scalars())
    if not job_ids:
        return Deleted([], 0)
    trails = delete(job_events).where(job_events.c.job_id.in_(job_ids))
    events = connection.execute(trails).rowcount
    connection.execute(delete(jobs).where(jobs.c.id.in_(job_ids)))
    return Deleted(job_ids, events)


def _finished_before(before: datetime) -> ColumnElement[bool]:
    # "Not unfinished" instead of "finished": so no index on the status applies, and the one on
    # `finished_at` gives the oldest in order. The other would sort all finished jobs for each batch.
    return (jobs.c.finished_at < before) & jobs.c.status.not_in(UNFINISHED_NAMES)
