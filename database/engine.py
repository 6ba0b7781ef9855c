"""The connection to SQL, alike on PostgreSQL and SQLite; its errors become ours."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, Table, create_engine, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DatabaseError, DBAPIError, OperationalError, TimeoutError

from database.conditions.verdict import RAISED, Verdict
from database.conditions.verdicts import explain, is_conflict, verdict_of
from database.group_commit import GroupCommit
from domain.errors import DatabaseUnavailableError

T = TypeVar("T")

#: A writer waits this long for another process's transaction on SQLite.
SQLITE_BUSY_SECONDS = 30
#: A silent server is noticed within half a minute, and no statement of ours takes that long. Names and
#: units are libpq's: seconds, and milliseconds for tcp_user_timeout.
POSTGRES_OPTIONS = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
    "options": "-c statement_timeout=30s -c idle_in_transaction_session_timeout=60s",
}


class Database:
    """One engine a process. `read`, `write` and `transact` are the only ways in.

    All raise DatabaseUnavailableError when the database cannot be reached, after a rollback. SQLite runs
    in WAL mode with full sync, so that a committed job survives a power cut.
    """

    def __init__(self, url: str) -> None:
        self.engine = _create(url)
        self.is_sqlite = self.engine.dialect.name == "sqlite"
        # SQLite has one writer at a time. A lock here is fair and passed on at once; SQLite's busy
        # handler sleeps in growing steps, which costs small transactions most of their time.
        self._writer_lock = threading.Lock() if self.is_sqlite else None
        self._group = GroupCommit(self.engine, self._writer_lock) if self._writer_lock else None
        self._reader = self.engine.execution_options(isolation_level="AUTOCOMMIT")

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Yield a connection for reading; each statement sees the latest committed state."""
        with self._errors(), self._reader.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Yield a connection inside a transaction: committed at the end, rolled back on an error."""
        with (
            self._errors(),
            self._writer_lock or nullcontext(),
            self.engine.begin() as connection,
        ):
            yield connection

    def insert(self, table: Table) -> Any:
        """Return an INSERT that may have an ON CONFLICT clause: each dialect has its own."""
        return (sqlite.insert if self.is_sqlite else postgresql.insert)(table)

    def transact(self, work: Callable[[Connection], T]) -> T:
        """Run one small piece of work in a transaction and return its result.

        On SQLite, concurrent threads share one commit. `work` may be run again, so it must do nothing
        but use its connection.
        """
        with self._errors():
            if self._group is not None:
                return self._group.run(work)
            try:
                with self.engine.begin() as connection:
                    return work(connection)
            except OperationalError as error:
                if not is_conflict(error):
                    raise
            # A deadlock with another transaction, for which this one was rolled back.
            with self.engine.begin() as connection:
                return work(connection)

    def close(self) -> None:
        """Close the pooled connections."""
        self.engine.dispose()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (DBAPIError, TimeoutError, OSError) as error:
            verdict = verdict_of(error)
            if verdict in RAISED:
                raise
            if verdict is Verdict.RECONNECT:
                # After a failover, connections to the former primary would be used for ever.
                self.engine.dispose()
            raise DatabaseUnavailableError(explain(error)) from error


def _create(url: str) -> Engine:
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        if parsed.database:
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        engine = create_engine(
            parsed,
            connect_args={"timeout": SQLITE_BUSY_SECONDS},
            hide_parameters=True,
            max_overflow=20,  # beside 5 that stay open: the API's threads wait for none
        )
        event.listen(engine, "do_connect", _make_private)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_immediate)
        return engine
    return create_engine(
        parsed,
        connect_args=POSTGRES_OPTIONS,
        # Parameters hold URLs, and URLs may hold secrets: they stay out of every error message.
        hide_parameters=True,
        pool_pre_ping=True,
        pool_size=8,
        max_overflow=24,
    )


def _make_private(_dialect: Any, _record: Any, arguments: Sequence[Any], _options: Any) -> None:
    """Create the database's file, if it does not exist, readable by its owner alone.

    SQLite gives the files beside it (-wal, -shm, -journal) the same mode.
    """
    path = str(arguments[0])
    if path in {"", ":memory:"} or path.startswith("file:"):
        return
    with suppress(OSError):  # it exists, or SQLite will report what is wrong
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # The driver must not open transactions by itself: `_begin_immediate` does.
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_immediate(connection: Connection) -> None:
    # A transaction that reads first and then writes fails at once if another one wrote in between. One
    # that starts as a writer waits for the lock.
    if connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT":
        return
    driver: Any = connection.connection.driver_connection
    begin = "BEGIN IMMEDIATE"
    try:
        driver.execute(begin).close()  # by the engine it takes ten times as long
    except sqlite3.OperationalError as error:
        raise OperationalError(begin, None, error) from error
    except sqlite3.DatabaseError as error:  # a file that was damaged since the connection was made
        raise DatabaseError(begin, None, error) from error
