"""Filling a database with many jobs, quickly and alike on SQLite and PostgreSQL."""

from __future__ import annotations

import itertools
import random
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Table

from database import Database
from database.job_rows import FIELDS
from database.models import finished_job_counts, idempotency_keys, job_events, jobs
from database.retention import Retention
from domain.job import FINISHED, RUNNING, JobStatus

S = JobStatus
#: Rows that are made and written in one step.
BATCH = 20_000
#: The states of finished jobs, in the proportions of a service that works.
_ENDED = (S.COMPLETED,) * 92 + (S.FAILED,) * 6 + (S.CANCELLED,) * 2
_STEPS: Mapping[JobStatus, tuple[JobStatus, ...]] = {
    S.COMPLETED: (S.QUEUED, S.DOWNLOADING, S.VERIFYING, S.COMPLETED),
    S.FAILED: (S.QUEUED, S.DOWNLOADING, S.FAILED),
    S.CANCELLED: (S.QUEUED, S.CANCELLED),
    S.DOWNLOADING: (S.QUEUED, S.DOWNLOADING),
    S.VERIFYING: (S.QUEUED, S.DOWNLOADING, S.VERIFYING),
    S.WAITING: (S.QUEUED, S.DOWNLOADING, S.WAITING),
    S.PAUSED: (S.QUEUED, S.PAUSED),
    S.QUEUED: (S.QUEUED,),
}
#: Of one job in this many its caller gave an idempotency key.
_KEY_EVERY = 20
_RARE_EVERY = 25_000
#: Of the jobs after these, one in five has a history: all of them would only take disk and time.
_ALL_WITH_HISTORY = 150_000
#: Columns that are alike in all rows, or in those of jobs that have not run.
_ALIKE: Mapping[str, Any] = dict.fromkeys(FIELDS) | {
    "overwrite": False,
    "secret_url": False,
    "decode": False,
    "ignore_origin_digests": False,
    "max_attempts": 10,
    "fence": 0,
    "attempts": 0,
    "bytes_downloaded": 0,
    "bytes_durable": 0,
    "speed_mbps": 0.0,
    "progress_version": 0,
}


@dataclass(frozen=True, slots=True)
class Numbers:
    """How many jobs of each kind."""

    ended: int = 900_000
    queued: int = 96_000
    waiting: int = 2_000
    paused: int = 1_000
    running: int = 1_000

    @property
    def unfinished(self) -> int:
        """The jobs that have not ended."""
        return self.queued + self.waiting + self.paused + self.running

    @property
    def all(self) -> int:
        """All jobs."""
        return self.ended + self.unfinished

    def states(self) -> Iterator[JobStatus]:
        """Yield the states, in order of the jobs' creation."""
        yield from itertools.islice(itertools.cycle(_ENDED), self.ended)
        yield from itertools.repeat(S.PAUSED, self.paused)
        yield from itertools.repeat(S.WAITING, self.waiting)
        yield from itertools.repeat(S.DOWNLOADING, self.running)
        yield from itertools.repeat(S.QUEUED, self.queued)


class Maker:
    """Makes rows of the tables. Hosts and users are skewed: the first ones have most jobs.

    Args:
        numbers: how many jobs.
        now: the newest time.
        first: the number of the first job.
        as_stored: converts a time to what the driver stores.
    """

    def __init__(
        self, numbers: Numbers, now: datetime, first: int, as_stored: Callable[[datetime], Any]
    ) -> None:
        self.numbers, self.now, self.first, self._as_stored = numbers, now, first, as_stored
        self._random = random.Random(numbers.all)
        self._hosts = self._skewed("host", 200)
        self._users = self._skewed("user", 1000)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield rows of `jobs`, the oldest first; they were created in the last twenty days."""
        step = timedelta(days=20) / self.numbers.all
        created = self.now - timedelta(days=20)
        for number, status in enumerate(self.numbers.states(), self.first):
            created += step
            yield self._row(number, status, created)

    def _row(self, number: int, status: JobStatus, created: datetime) -> dict[str, Any]:
        rare = number % _RARE_EVERY == _RARE_EVERY // 2
        host = "rare.example" if rare else next(self._hosts)
        key = f"{number:064x}"
        return {
            **_ALIKE,
            "id": _job_id(created, number),
            "user_id": "rare" if rare else next(self._users),
            "url": f"https://{host}/media/{number}/segment.m4s",
            "directory": f"media/{number % 1000}",
            "host": host,
            "priority": ("high", "normal", "normal", "low")[number % 4],
            "dedup_key": key,
            "flight": key,
            "requeued": number % 50 == 0,
            "in_front": number % 50 == 0,
            **self._state(number, status, created),
        }

    def _state(self, number: int, status: JobStatus, created: datetime) -> dict[str, Any]:
        ended = self._as_stored(created + timedelta(minutes=1)) if status in FINISHED else None
        at = self._as_stored(created)
        updated = self._as_stored(self.now - timedelta(seconds=1)) if status in RUNNING else None
        values: dict[str, Any] = {
            "status": status.value,
            "created_at": at,
            "published_at": at,
            "updated_at": updated or ended or at,
            "finished_at": ended,
        }
        if status in {S.QUEUED, S.PAUSED}:
            return values
        values |= {
            "fence": 1,
            "attempts": 1,
            "worker": f"downloads@worker{number % 4}",
            "started_at": at,
            "bytes_downloaded": 65536,
            "bytes_total": 65536,
            "progress_version": 1 << 32,
        }
        if status is S.COMPLETED:
            path = f"/downloads/media/{number}/segment.m4s"
            return values | {"bytes_durable": 65536, "path": path, "sha256": f"{number:064x}"}
        if status is S.WAITING:
            code, due = ("host_busy", "timeout")[number % 2], number % 240 + 60
            due_at = self._as_stored(self.now + timedelta(seconds=due))
            values |= {"error_code": code, "next_attempt_at": due_at}
        return values | {"reason": "The origin answered 503."}

    def _skewed(self, name: str, count: int) -> Iterator[str]:
        weights = [1 / (place + 1) for place in range(count)]
        names = [f"{name}{place}.example" for place in range(count)]
        while True:
            yield from self._random.choices(names, weights, k=BATCH)


def events_of(row: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the history that led to a row's state."""
    before: JobStatus | None = None
    for to in _STEPS[JobStatus(row["status"])]:
        yield {
            "job_id": row["id"],
            "at": row["created_at"],
            "from_status": before,
            "to_status": to.value,
            "worker": row["worker"] if to in RUNNING else None,
            "fence": row["fence"],
            "attempt": row["attempts"],
            "reason": row["reason"] if to == row["status"] else None,
        }
        before = to


def _has_history(row: Mapping[str, Any]) -> bool:
    number = int(row["dedup_key"], 16)
    return number < _ALL_WITH_HISTORY or number % 5 == 0


def _job_id(created: datetime, number: int) -> str:
    milliseconds = int(created.timestamp() * 1000)
    value = milliseconds << 80 | 0x7 << 76 | 0b10 << 62 | number
    return str(uuid.UUID(int=value))


def fill(database: Database, numbers: Numbers, *, now: datetime, first: int = 0) -> None:
    """Store jobs with their histories and idempotency keys.

    Args:
        database: migrated.
        numbers: how many.
        now: the newest time.
        first: how many jobs earlier calls have stored.
    """
    as_stored = _as_sqlite if database.is_sqlite else _as_it_is
    rows = Maker(numbers, now, first, as_stored).rows()
    while some := list(itertools.islice(rows, BATCH)):
        keys = [{"key": row["dedup_key"], "job_id": row["id"]} for row in some[::_KEY_EVERY]]
        events = [event for row in some if _has_history(row) for event in events_of(row)]
        for table, values in ((jobs, some), (job_events, events), (idempotency_keys, keys)):
            _write(database, table, values)


def settle(database: Database) -> None:
    """Do at once what the service and PostgreSQL's autovacuum do soon; SQLite has no statistics here."""
    Retention(database).merge_counts()
    if database.is_sqlite:
        with database.read() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").close()
        return
    with database.read() as connection:
        connection.exec_driver_sql("SET statement_timeout = 0")
        # Merging as often as the service does would have left no pages without rows.
        connection.exec_driver_sql(f"VACUUM FULL {finished_job_counts.name}")
        connection.exec_driver_sql("VACUUM ANALYZE")
    database.engine.dispose()


def _write(database: Database, table: Table, rows: list[dict[str, Any]]) -> None:
    names = list(rows[0])
    columns = f"{table.name} ({', '.join(names)})"
    with database.write() as connection:
        driver: Any = connection.connection
        if database.is_sqlite:
            connection.exec_driver_sql(
                "PRAGMA cache_size = -200000"
            ).close()  # KiB, for its indexes
            marks = ", ".join("?" * len(names))
            statement = f"INSERT INTO {columns} VALUES ({marks})"
            values = [list(row.values()) for row in rows]
            driver.cursor().executemany(statement, values).close()
            return
        with driver.cursor().copy(f"COPY {columns} FROM STDIN") as copy:
            for row in rows:
                copy.write_row(list(row.values()))


def _as_sqlite(time: datetime) -> str:
    return time.replace(tzinfo=None).isoformat(" ", "microseconds")


def _as_it_is(time: datetime) -> datetime:
    return time
