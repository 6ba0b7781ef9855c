"""Deleting jobs that finished long ago, with their histories; counting finished jobs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, delete, func, insert, select

from database.engine import Database
from database.job_rows import UNFINISHED_NAMES, in_state
from database.models import finished_job_counts, job_events, jobs
from database.webhooks.outbox import delete_of_jobs
from domain.job import FINISHED, JobStatus

_FINISHED = [state for state in JobStatus if state in FINISHED]

#: Rows of counts that are merged; summing fewer takes no time.
_MERGED_FROM = 500

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
            .where(in_state(*FINISHED), jobs.c.finished_at < finished_before)
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

    def merge_counts(self) -> None:
        """Make one row of the many in `finished_job_counts` for each state; their sum stays."""
        many = select(finished_job_counts.c.status).limit(1).offset(_MERGED_FROM)
        with self._database.read() as connection:
            if connection.execute(many).first() is None:
                return
        self._database.transact(_merge_counts)


def _merge_counts(connection: Connection) -> None:
    table, names = finished_job_counts, ["status", "jobs"]
    if connection.dialect.name == "postgresql":
        # What is deleted, and no row that another transaction adds meanwhile.
        rows = delete(table).returning(table.c.status, table.c.jobs).cte()
        sums = select(rows.c.status, func.sum(rows.c.jobs)).group_by(rows.c.status)
        connection.execute(insert(table).from_select(names, sums))
        return
    # SQLite has no DELETE inside of a query, but one writer at a time.
    summed = select(table.c.status, func.sum(table.c.jobs)).group_by(table.c.status)
    found = [dict(zip(names, row, strict=True)) for row in connection.execute(summed)]
    connection.execute(delete(table))
    if found:
        connection.execute(insert(table), found)


def _delete_oldest(connection: Connection, finished_before: datetime, limit: int) -> Deleted:
    """Delete the oldest completed jobs, then the oldest failed ones and so on.

    One query for each state: an index has the jobs of one state in the order of their ends. A query for
    all would sort all of them for each batch.
    """
    deleted = Deleted([], 0)
    for state in _FINISHED:
        chosen = (
            select(jobs.c.id)
            .where(in_state(state), jobs.c.finished_at < finished_before)
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
    delete_of_jobs(connection, job_ids)
    connection.execute(delete(jobs).where(jobs.c.id.in_(job_ids)))
    return Deleted(job_ids, events)
