"""A statement of a batch that takes too long: what another session has locked is its own job's alone."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, select

from database import Database, JobRepository
from database.models import jobs as table
from domain.errors import DatabaseUnavailableError
from domain.job import Job
from tests.support.stores.batches import BAD, COUNT, check_others, operation_of, stored_for
from tests.support.wait import wait_until


@contextmanager
def _row_locked(database: Database, job: Job) -> Iterator[None]:
    """Lock a row; whatever waits for it is cancelled, as a time-out does."""
    is_over = threading.Event()

    def cancel() -> None:
        while not is_over.wait(0.02):
            with database.read() as connection:
                connection.exec_driver_sql(
                    "SELECT pg_cancel_backend(pid) FROM pg_stat_activity "
                    "WHERE wait_event_type = 'Lock' AND datname = current_database()"
                )

    with database.write() as connection, ThreadPoolExecutor(1) as threads:
        connection.execute(select(table.c.id).where(table.c.id == job.id).with_for_update())
        cancelling = threads.submit(cancel)
        try:
            yield
        finally:
            is_over.set()
            cancelling.result()


@pytest.mark.parametrize("kind", ["claim", "verifying", "end", "note", "consumed"])
def test_a_row_that_is_locked_for_too_long_is_that_items_alone(
    repo: JobRepository, database: Database, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if database.is_sqlite:
        pytest.skip("SQLite locks no rows")
    monkeypatch.setattr("database.jobs._ALONE_TIMEOUT", 60_000)
    jobs, seen = stored_for(repo, kind), list[str]()

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    event.listen(database.engine, "before_cursor_execute", note)
    try:
        with _row_locked(database, jobs[BAD]):
            results = repo.perform([operation_of(kind, job) for job in jobs])
    finally:
        event.remove(database.engine, "before_cursor_execute", note)
    assert isinstance(results[BAD], DatabaseUnavailableError)
    assert seen.count("SET LOCAL statement_timeout = 60000") == COUNT
    check_others(repo, kind, jobs, results)
    assert repo.get(jobs[BAD].id) == jobs[BAD]


def test_a_database_that_goes_away_after_a_time_out_is_asked_once_more(
    repo: JobRepository, database: Database
) -> None:
    if database.is_sqlite:
        pytest.skip("its time-out is that of all")
    jobs, seen = stored_for(repo, "end"), list[str]()

    def lose(connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("SET LOCAL"):
            seen.append(statement)
            connection.invalidate()
            raise OSError("the connection is gone")

    event.listen(database.engine, "before_cursor_execute", lose)
    try:
        with _row_locked(database, jobs[BAD]):
            results = repo.perform([operation_of("end", job) for job in jobs])
    finally:
        event.remove(database.engine, "before_cursor_execute", lose)
    assert len(seen) == 1
    assert [type(one) for one in results] == [DatabaseUnavailableError] * COUNT
    assert [repo.get(job.id) for job in jobs] == jobs


def test_a_locked_sqlite_is_waited_for_once_for_all_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("database.engine.SQLITE_BUSY_SECONDS", 0.2)
    path = tmp_path / "locked.db"
    with closing(Database(f"sqlite:///{path}")) as database, ThreadPoolExecutor(COUNT) as threads:
        lock, group = database._writer_lock, database._group
        assert lock is not None
        assert group is not None
        database.transact(lambda _: None)  # makes the file
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with lock:
                writes = [threads.submit(database.transact, lambda _: None) for _ in range(COUNT)]
                wait_until(lambda: len(group._waiting) == COUNT, deadline=60, what="all wait")
            errors = [write.exception() for write in writes]
    assert [type(error) for error in errors] == [DatabaseUnavailableError] * COUNT
    causes = {id(error.__cause__) for error in errors if error is not None}
    assert len(causes) == 1, "one wait, one error for all"
    assert "locked" in str(errors[0])
