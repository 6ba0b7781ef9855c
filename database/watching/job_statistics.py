"""Numbers for monitoring. Each query reads waiting jobs, or one row, however many jobs there are."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import func, select

from database.engine import Database
from database.job_rows import in_state
from database.models import WAITING, jobs
from domain.job import JobStatus


class JobStatistics:
    """Reads them. Methods raise DatabaseUnavailableError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def waiting_by_error(self) -> dict[str | None, int]:
        """Return how many jobs wait after which error code."""
        query = select(jobs.c.error_code, func.count()).where(WAITING).group_by(jobs.c.error_code)
        with self._database.read() as connection:
            return {code: int(count) for code, count in connection.execute(query)}

    def oldest_queued(self) -> datetime | None:
        """Return when the oldest queued job was submitted; None without a queued job."""
        query = (
            select(jobs.c.created_at).where(in_state(JobStatus.QUEUED)).order_by(jobs.c.id).limit(1)
        )
        with self._database.read() as connection:
            found: datetime | None = connection.execute(query).scalar()
        return found
