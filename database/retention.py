"""Deleting jobs that finished long ago, with their histories."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, delete, func, select

from database.engine import Database
from database.job_rows import UNFINISHED_NAMES
from database.models import job_events, jobs
from domain.job import FINISHED, JobStatus

_FINISHED_NAMES = [status.value for status in JobStatus if status in FINISHED]

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
        query = (
            select(func.count())
            .select_from(jobs)
            .where(jobs.c.status.in_(_FINISHED_NAMES), jobs.c.finished_at < finished_before)
        )
        with self._database.read() as connection:
            return int(connection.execute(query).scalar_one())

    def delete_some(self, finished_before: datetime, *, limit: int = BATCH) -> Deleted:
        """Delete at most `limit` jobs that finished before then, and their events.

        Locked rows are skipped, such as those of a concurrent deletion or retry, so two deletions never
        wait for each other. If nothing is deleted, only locked rows are left.
        """
        return self._database.transact(
            lambda connection: _delete_oldest(connection, finished_before, limit)
        )

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


def _delete_oldest(connection: Connection, finished_before: datetime, limit: int) -> Deleted:
    """Delete the oldest completed jobs, then the oldest failed ones and so on.

    One query for each state: an index has the jobs of one state in the order of their ends. A query for
    all would sort all of them for each batch.
    """
    deleted = Deleted([], 0)
    for name in _FINISHED_NAMES:
        chosen = (
            select(jobs.c.id)
            .where(jobs.c.status == name, jobs.c.finished_at < finished_before)
            .order_by(jobs.c.finished_at)
            .limit(limit - len(deleted.job_ids))
            .with_for_update(skip_locked=True)
        )
        some = _delete(connection, chosen)
        deleted = Deleted(deleted.job_ids + some.job_ids, deleted.events + some.events)
        if len(deleted.job_ids) == limit:
            break
    return deleted


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
