"""Jobs by their GID, and the order in which aria2's lists have them.

No statement reads more rows than its limit.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import String, bindparam, case, literal_column, select, union_all

from database.engine import Database
from database.job_queries import conditions_by_status
from database.job_rows import in_state, limited
from database.models import GID, HAS_FINISHED, HAS_GID, jobs
from domain.job import FINISHED, JobFilter, JobStatus, Priority

#: In the order of aria2's list of waiting downloads all are alike.
_WAITING = frozenset({JobStatus.QUEUED, JobStatus.WAITING, JobStatus.PAUSED})
_RANK = case(
    *((jobs.c.priority == one.value, place) for place, one in enumerate(Priority)), else_=1
)
#: Not `jobs.c`: the index is found by its very expression.
_GID = literal_column(f"({GID})", String)


class GidOwner(NamedTuple):
    """A job that a GID may stand for."""

    job_id: str
    user_id: str | None


class QueuePlaces:
    """Reads the `jobs` table. Methods raise DatabaseUnavailableError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def with_gid(self, first: str, last: str, *, limit: int) -> list[GidOwner]:
        """Return jobs whose GIDs are in a range, both ends included.

        Args:
            first: 16 hexadecimal digits in lower case.
            last: the same.
            limit: how many at most.
        """
        query = (
            select(jobs.c.id, jobs.c.user_id)
            .where(HAS_GID, _GID.between(bindparam("first", first), bindparam("last", last)))
            .order_by(_GID)
            .limit(limited(limit))
        )
        with self._database.read() as connection:
            return [GidOwner(*row) for row in connection.execute(query)]

    def waiting(self, where: JobFilter, *, limit: int) -> list[str]:
        """Return the ids of jobs that wait or are paused: the more urgent first, then the older.

        Of each state at most `limit` of the oldest are considered.
        """
        parts = [
            select(jobs.c.id).where(*conditions).order_by(jobs.c.id).limit(limited(limit))
            for status, conditions in conditions_by_status(where)
            if status in _WAITING
        ]
        found = union_all(*(select(part.subquery()) for part in parts)).subquery()
        query = (
            select(jobs.c.id)
            .where(jobs.c.id.in_(select(found.c.id)))
            .order_by(_RANK, jobs.c.id)
            .limit(limited(limit))
        )
        with self._database.read() as connection:
            return list(connection.execute(query).scalars())

    def stopped(self, where: JobFilter, *, limit: int) -> list[str]:
        """Return the ids of the jobs that were the last to finish, the one that finished first first."""
        parts = [
            select(jobs.c.id, jobs.c.finished_at)
            .where(*conditions, HAS_FINISHED)
            .order_by(jobs.c.finished_at.desc())
            .limit(limited(limit))
            for status, conditions in conditions_by_status(where)
            if status in FINISHED
        ]
        found = union_all(*(select(part.subquery()) for part in parts)).subquery()
        query = (
            select(found.c.id)
            .order_by(found.c.finished_at.desc(), found.c.id.desc())
            .limit(limited(limit))
        )
        with self._database.read() as connection:
            return list(connection.execute(query).scalars())[::-1]

    def ended_without_owner(self, *, limit: int) -> list[str]:
        """Return the ids of some finished jobs that no user owns."""
        parts = [
            select(jobs.c.id)
            .where(in_state(status), jobs.c.user_id.is_(None))
            .order_by(jobs.c.id)
            .limit(limited(limit))
            for status in sorted(FINISHED)
        ]
        query = union_all(*(select(part.subquery()) for part in parts)).limit(limited(limit))
        with self._database.read() as connection:
            return list(connection.execute(query).scalars())
