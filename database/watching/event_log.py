"""The newest rows of `job_events`: which jobs have changed, by the numbers of their events."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import select

from database.engine import Database
from database.models import job_events


class EventNumber(NamedTuple):
    """An event and its job.

    Numbers rise in the order in which events are written, not committed. SQLite gives the numbers of
    deleted events again.
    """

    number: int
    job_id: str


class EventLog:
    """Reads events of all jobs. Methods raise DatabaseUnavailableError.

    Each reads as many rows of the primary key as it returns.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def newest(self) -> EventNumber | None:
        """Return the newest event; None without one."""
        newest = job_events.c.id.desc()
        query = select(job_events.c.id, job_events.c.job_id).order_by(newest).limit(1)
        with self._database.read() as connection:
            row = connection.execute(query).first()
        return None if row is None else EventNumber(*row)

    def since(self, number: int, *, limit: int) -> list[EventNumber]:
        """Return the events with this number and greater ones, in their order."""
        query = (
            select(job_events.c.id, job_events.c.job_id)
            .where(job_events.c.id >= number)
            .order_by(job_events.c.id)
            .limit(limit)
        )
        with self._database.read() as connection:
            return [EventNumber(*row) for row in connection.execute(query)]
