"""Each result code of SQLite: who waits, who fails, and what a person reads."""

from __future__ import annotations

import resource
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DatabaseError, DBAPIError

from database import Database, JobRepository
from database.conditions.sqlite import CODES
from database.conditions.verdict import Verdict
from database.conditions.verdicts import explain, verdict_of
from domain.errors import DatabaseUnavailableError
from tests.support.build import new_job
from tests.support.databases import write_migrated


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_migrated(tmp_path / "seen.db")
    return tmp_path / "seen.db"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{path}")
    yield database
    database.close()


def run(database: Database, *statements: str) -> None:
    def work(connection: Connection) -> None:
        for one in statements:
            connection.exec_driver_sql(one)

    database.transact(work)


# ── as SQLite raises them ───────────────────────────────────────────────────────────────────────


def test_a_file_that_another_process_has_locked(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("database.engine.SQLITE_BUSY_SECONDS", 0.05)
    database = Database(f"sqlite:///{path}")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseUnavailableError, match="Another process has locked it"):
            JobRepository(database).add([new_job()])
        other.execute("ROLLBACK")
    JobRepository(database).add([new_job()])
    database.close()


def test_a_connection_that_may_only_read(database: Database) -> None:
    with pytest.raises(DatabaseUnavailableError, match="needs the right to write"):
        run(database, "PRAGMA query_only = ON", "DELETE FROM jobs")


def test_a_full_disk(database: Database) -> None:
    with pytest.raises(DatabaseUnavailableError, match="Free space on its disk"):
        run(
            database,
            "PRAGMA max_page_count = 1",
            "CREATE TABLE big (x)",
            "INSERT INTO big VALUES (randomblob(1000000))",
        )


def test_a_table_that_another_connection_of_the_cache_has_locked() -> None:
    with (
        closing(sqlite3.connect("file:shared?mode=memory&cache=shared", uri=True)) as one,
        closing(sqlite3.connect("file:shared?mode=memory&cache=shared", uri=True)) as two,
    ):
        one.execute("CREATE TABLE t (x)")
        one.execute("INSERT INTO t VALUES (1)")
        with pytest.raises(sqlite3.OperationalError) as caught:
            two.execute("SELECT * FROM t").fetchall()
        one.rollback()
    assert caught.value.sqlite_errorcode & 0xFF == sqlite3.SQLITE_LOCKED
    assert verdict_of(DBAPIError("", None, caught.value)) is Verdict.WAIT


def test_a_page_that_is_damaged(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (root,) = other.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'jobs' AND type = 'table'"
        ).fetchone()
        (size,) = other.execute("PRAGMA page_size").fetchone()
    with path.open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xff" * size)
    database = Database(f"sqlite:///{path}")
    with pytest.raises(DatabaseUnavailableError, match="restore it from a backup"):
        run(database, "SELECT * FROM jobs")
    database.close()


def test_a_value_that_is_too_large_is_an_error_of_its_own(database: Database) -> None:
    def work(connection: Connection) -> None:
        driver = connection.connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        driver.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 1000)
        try:
            connection.execute(text("SELECT :value"), {"value": "x" * 2000})
        finally:
            driver.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 1_000_000_000)

    with pytest.raises(DBAPIError):
        database.transact(work)


_WITHOUT_ROOM = """
import resource, signal, sys
from database import Database, JobRepository
from domain.errors import DatabaseUnavailableError
from tests.support.build import new_job

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
database = Database(sys.argv[1])
repo = JobRepository(database)
repo.count_by_status()
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
try:
    repo.add([new_job()])
except DatabaseUnavailableError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(len(repo.add([new_job()])))
"""


def test_writes_that_the_disk_refuses(path: Path) -> None:
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    found = subprocess.run(
        [sys.executable, "-c", _WITHOUT_ROOM, f"sqlite:///{path}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    said, stored = found.stdout.splitlines()
    assert said.startswith("The database does not answer: ")
    assert said.endswith(("Free space on its disk.", "the log of the system."))
    assert stored == "1"


# ── every code that the driver knows ────────────────────────────────────────────────────────────

RAISED = {"NOMEM", "TOOBIG", "CONSTRAINT", "MISMATCH", "MISUSE", "AUTH", "RANGE"}


#: The other constants of the driver; the authorizer's have the numbers of result codes.
RESULTS = {
    *("ERROR", "INTERNAL", "PERM", "ABORT", "BUSY", "LOCKED", "NOMEM", "READONLY", "INTERRUPT"),
    *("IOERR", "CORRUPT", "NOTFOUND", "FULL", "CANTOPEN", "PROTOCOL", "SCHEMA", "TOOBIG"),
    *("CONSTRAINT", "MISMATCH", "MISUSE", "NOLFS", "AUTH", "FORMAT", "RANGE", "NOTADB"),
}


def names() -> list[str]:
    """Return the names of the primary and extended codes: an extended one begins with its primary's."""
    return [
        name for name in dir(sqlite3) if name.startswith("SQLITE_") if name.split("_")[1] in RESULTS
    ]


def test_every_code_has_one_verdict() -> None:
    found = names()
    assert len(found) > 80
    for name in found:
        error = sqlite3.DatabaseError("x")
        error.sqlite_errorcode = getattr(sqlite3, name)
        verdict = verdict_of(DatabaseError("", None, error))
        is_raised = name.split("_")[1] in RAISED
        assert verdict is (Verdict.RAISE if is_raised else Verdict.WAIT), name
        if not is_raised and CODES[error.sqlite_errorcode & 0xFF].remedy:
            assert explain(DatabaseError("", None, error)).endswith(
                CODES[error.sqlite_errorcode & 0xFF].remedy
            )
