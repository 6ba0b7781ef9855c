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
from sqlalchemy.exc import DatabaseError, DBAPIError, InterfaceError, OperationalError, TimeoutError

from database.group_commit import GroupCommit
from domain.errors import DatabaseUnavailableError

T = TypeVar("T")

#: SQLite's errors for a file that is damaged or is no SQLite database.
_UNREADABLE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}

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


#: deadlock_detected, serialization_failure
_CONFLICTS = {"40P01", "40001"}


def is_conflict(error: BaseException | None) -> bool:
    """Return whether an error of a driver says that a transaction was rolled back for another one."""
    return getattr(getattr(error, "orig", None), "sqlstate", None) in _CONFLICTS


#: query_canceled (as by statement_timeout, behind a row that another session has locked),
#: lock_not_available
_TIMEOUTS = {"57014", "55P03"}
#: program_limit_exceeded, as of a value that is too long for an index
_LIMITS_CLASS = "54"


def is_timeout(error: BaseException | None) -> bool:
    """Return whether an error of PostgreSQL says that a statement waited or ran for too long."""
    return getattr(getattr(error, "orig", None), "sqlstate", None) in _TIMEOUTS


def may_be_of_one_row(error: BaseException | None) -> bool:
    """Return whether the same transaction without one of its rows could succeed at once."""
    state = getattr(getattr(error, "orig", None), "sqlstate", None) or ""
    return state in _CONFLICTS | _TIMEOUTS or state.startswith(_LIMITS_CLASS)


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
        with _database_errors(), self._reader.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Yield a connection inside a transaction: committed at the end, rolled back on an error."""
        with (
            _database_errors(),
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
        with _database_errors():
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


#: What to do about errors of SQLite, by primary code.
_REMEDIES = {
    sqlite3.SQLITE_FULL: "Free space on its disk.",
    sqlite3.SQLITE_READONLY: "This user needs the right to write the file and its folder.",
    sqlite3.SQLITE_PERM: "This user needs the right to write the file and its folder.",
    sqlite3.SQLITE_CANTOPEN: "It must be a file, in a folder that this user may write.",
    sqlite3.SQLITE_BUSY: "Another process has locked it for too long.",
    sqlite3.SQLITE_IOERR: "See the disk, and the log of the system.",
}


def _explain(cause: BaseException) -> str:
    """Return what a driver says as a sentence, and what to do."""
    lines = [line.strip() for line in str(cause).splitlines()]
    # libpq's second line is a question.
    text = " ".join(line for line in lines if line and not line.startswith("Is the server"))
    if _lacks_tables(cause):
        return f"The database lacks tables of this version ({text}). Run: seen db upgrade"
    remedy = _REMEDIES.get((getattr(cause, "sqlite_errorcode", None) or 0) & 0xFF, "")
    return f"The database does not answer: {text.rstrip('.')}. {remedy}".rstrip()


#: How SQLite says that a table or column is missing, and PostgreSQL's states for both.
_LACKS_TABLES = ("no such table", "no such column", "has no column")
_LACKS_TABLES_STATES = frozenset({"42P01", "42703"})


def _lacks_tables(cause: BaseException | None) -> bool:
    """Return whether the database was never migrated, or not to this version."""
    state = getattr(cause, "sqlstate", None)
    return state in _LACKS_TABLES_STATES or any(one in str(cause) for one in _LACKS_TABLES)


@contextmanager
def _database_errors() -> Iterator[None]:
    try:
        yield
    except (OperationalError, InterfaceError, TimeoutError, OSError) as error:
        # The driver raises OSError when it lacks a descriptor or memory for a connection.
        raise DatabaseUnavailableError(_explain(getattr(error, "orig", None) or error)) from error
    except DBAPIError as error:
        if error.orig is not None and _lacks_tables(error.orig):
            raise DatabaseUnavailableError(_explain(error.orig)) from error
        if error.connection_invalidated:
            raise DatabaseUnavailableError(
                f"The connection to the database was lost: {error.orig}"
            ) from error
        if getattr(error.orig, "sqlite_errorcode", None) in _UNREADABLE:
            raise DatabaseUnavailableError(
                f"The database file cannot be read ({error.orig}): restore it from a backup, or move it "
                "away for a new one."
            ) from error
        raise
