"""Migrations build what the models describe, once, however many processes start at a time."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from database import Database, JobRepository, migrate
from database.models import metadata
from domain.errors import UnknownRevisionError
from domain.job import Job, JobStatus
from tests.support.build import new_job
from tests.support.wait import wait_until

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    database.close()


def config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(ROOT / "database/migrations"))
    return config


def test_the_known_head_is_the_newest_revision() -> None:
    assert ScriptDirectory.from_config(config()).get_heads() == [migrate.HEAD]


def test_an_empty_database_has_no_revision(database: Database) -> None:
    assert migrate.current(database) is None


def test_upgrading_twice_does_nothing_the_second_time(database: Database) -> None:
    assert migrate.upgrade(database) is True
    assert migrate.current(database) == migrate.HEAD
    job = new_job()
    JobRepository(database).add([job])
    assert migrate.upgrade(database) is False
    assert JobRepository(database).get(job.id) == job


@pytest.mark.parametrize("revision", ["9999", "\x1b[31m", ""])
def test_tables_of_an_unknown_revision_are_refused_and_stay(
    database: Database, revision: str
) -> None:
    migrate.upgrade(database)
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :it"), {"it": revision})
    with pytest.raises(UnknownRevisionError, match="does not know"):
        migrate.upgrade(database)
    assert migrate.current(database) == revision


# SQLAlchemy does not read them back from SQLite; on PostgreSQL they are compared.
@pytest.mark.filterwarnings("ignore:Skipped unsupported reflection of expression-based index")
@pytest.mark.filterwarnings(
    "ignore:autogenerate skipping metadata-specified expression-based index"
)
def test_migrations_build_what_the_models_describe(database: Database) -> None:
    migrate.upgrade(database)
    with database.read() as connection:
        options = {"compare_type": True, "compare_server_default": False}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, metadata) == []


def test_going_all_the_way_down_and_up_again(database: Database) -> None:
    migrate.upgrade(database)
    with database.write() as connection:
        down = config()
        down.attributes["connection"] = connection
        command.downgrade(down, "base")
    with database.read() as connection:
        assert set(inspect(connection).get_table_names()) <= {"alembic_version"}
    assert migrate.current(database) is None
    assert migrate.upgrade(database) is True
    JobRepository(database).add([new_job()])


UPGRADE = """
import sys
from database import Database, migrate
database = Database(sys.argv[1])
print(migrate.upgrade(database))
assert migrate.current(database) == migrate.HEAD
database.close()
"""


def test_one_of_several_processes_that_upgrade_at_once_migrates(database_url: str) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", UPGRADE, database_url],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(5)
    ]
    printed = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 5, "\n".join(printed)
    assert sorted(printed) == ["False\n"] * 4 + ["True\n"]
    database = Database(database_url)
    JobRepository(database).add([new_job()])
    database.close()


@contextmanager
def waiting_upgrade(database: Database) -> Iterator[tuple[Connection, Future[bool]]]:
    """An upgrade that waits for a transaction; the block runs within that transaction."""
    waiting = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
    with ThreadPoolExecutor(1) as pool, database.write() as running:
        key = {"key": migrate._ADVISORY_LOCK}
        running.execute(text("SELECT pg_advisory_xact_lock(:key)"), key)
        upgraded = pool.submit(migrate.upgrade, database)
        wait_until(lambda: running.execute(waiting).scalar(), what="an upgrade that waits")
        yield running, upgraded


def test_an_upgrade_waits_for_the_one_that_runs(postgres_url: str) -> None:
    database = Database(postgres_url)
    with waiting_upgrade(database) as (_, upgraded):
        assert not upgraded.done()
    assert upgraded.result(30) is True
    database.close()


def test_upgrade_that_waited_for_another_has_nothing_to_do(postgres_url: str) -> None:
    database = Database(postgres_url)
    with waiting_upgrade(database) as (running, upgraded):
        up = config()
        up.attributes["connection"] = running
        command.upgrade(up, "head")
    assert upgraded.result(30) is False
    database.close()


def test_an_sqlite_file_is_created_with_its_folders(tmp_path: Path) -> None:
    path = tmp_path / "new" / "100% ü" / "seen.db"
    database = Database(f"sqlite:///{str(path).replace('%', '%25')}")
    migrate.upgrade(database)
    database.close()
    assert path.exists()


def test_sqlite_survives_a_power_cut(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    with database.read() as connection:
        pragmas = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous")
        ]
    database.close()
    assert pragmas == ["wal", 2]


def move(database: Database, revision: str) -> None:
    """Bring a database to an older revision."""
    with database.write() as connection:
        at_hand = config()
        at_hand.attributes["connection"] = connection
        command.downgrade(at_hand, revision)


def test_jobs_that_are_there_keep_what_they_have_and_get_their_host(database: Database) -> None:
    migrate.upgrade(database)
    move(database, "0001")
    insert = text(
        "INSERT INTO jobs (id, url, directory, status, max_attempts, created_at, updated_at) "
        "VALUES (:id, :url, '', 'queued', 3, :now, :now)"
    )
    urls = {
        "a": "https://Example.com:8443/x?y=1",
        "b": "http://" + "x" * 400 + "/",
        "c": "http://[::1",
    }
    with database.write() as connection:
        for job_id, url in urls.items():
            connection.execute(insert, {"id": job_id, "url": url, "now": "2026-03-01 12:00:00"})
    assert migrate.upgrade(database) is True
    found = JobRepository(database).get_many(list(urls))
    assert {job.id: job.host for job in found.values()} == {
        "a": "example.com",
        "b": None,  # longer than a host name can be
        "c": None,
    }
    assert {(job.mirrors, job.decode, job.secrets) for job in found.values()} == {((), False, None)}


def test_downgrade_keeps_the_key_of_the_duplicate_without_a_pending_cancel(
    database: Database,
) -> None:
    migrate.upgrade(database)
    repo = JobRepository(database)

    def flying(**changes: Any) -> Job:
        return new_job(dedup_key="f" * 64, **changes)

    cancelled = flying(status=JobStatus.DOWNLOADING, control="cancel")
    paused = flying(status=JobStatus.DOWNLOADING, control="pause")
    assert repo.add([cancelled]) == [cancelled]
    assert repo.add([paused]) == [paused]
    move(database, "0004")
    # The older schema knows one holder until it has ended: it is the one that is not being cancelled.
    with database.read() as connection:
        rows = connection.execute(text("SELECT id, flight FROM jobs"))
        assert {row.id: row.flight for row in rows} == {
            cancelled.id: None,
            paused.id: paused.dedup_key,
        }
    assert migrate.upgrade(database) is True
    assert repo.add([flying()]) == [paused]
