"""A database outage: our own error, recovery, and no secrets in messages."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy.exc
from sqlalchemy import insert, select

from database import Database, JobRepository, UserRepository, migrate
from database.job_pages import PageQuery
from database.job_rows import ProgressRow
from database.models import users
from database.operations import Claim, Note
from domain.byte_counts import ByteCounts
from domain.errors import DatabaseUnavailableError
from domain.job import Job, JobStatus, Priority
from tests.support.build import NOW, new_job
from tests.support.databases import write_migrated
from tests.support.servers.postgres import PostgresServer

SECRET = "https://example.com/?token=hunter2"

Use = Callable[[JobRepository, Job], object]

ROW = ProgressRow(
    job_id="x",
    version=1,
    counts=ByteCounts(),
    speed_mbps=0.0,
    reported_at=NOW,
)

EVERY: dict[str, Use] = {
    "add": lambda repo, job: repo.add([new_job()]),
    "get": lambda repo, job: repo.get(job.id),
    "get_many": lambda repo, job: repo.get_many([job.id]),
    "stamps": lambda repo, job: repo.stamps([job.id]),
    "finished_since": lambda repo, job: repo.finished_since(NOW, JobStatus.COMPLETED),
    "find": lambda repo, job: repo.find(),
    "page": lambda repo, job: repo.page(PageQuery()),
    "count_of_user": lambda repo, job: repo.count_of_user("ann", at_most=9),
    "with_prefix": lambda repo, job: repo.with_prefix(job.id, job.id, limit=1),
    "neighbours": lambda repo, job: repo.neighbours([job.id]),
    "overview": lambda repo, job: repo.overview(),
    "count_ahead": lambda repo, job: repo.count_ahead(job),
    "count_by_status": lambda repo, job: repo.count_by_status(),
    "events": lambda repo, job: repo.events(job.id),
    "perform": lambda repo, job: repo.perform([Claim(job.id, "w", NOW), Note(job, "x", NOW)]),
    "transition": lambda repo, job: repo.transition(job, JobStatus.VERIFYING, now=NOW),
    "request_control": lambda repo, job: repo.request_control([job], "cancel"),
    "mark_published": lambda repo, job: repo.mark_published([job], NOW),
    "inactive_with_progress": lambda repo, job: repo.inactive_with_progress(""),
    "has_queued_of_others": lambda repo, job: repo.has_queued_of_others("host", "example.org"),
    "last_workers": lambda repo, job: repo.last_workers([job.id]),
    "reset_progress": lambda repo, job: repo.reset_progress([job], now=NOW),
    "mark_messages_lost": lambda repo, job: repo.mark_messages_lost(NOW),
    "note_many": lambda repo, job: repo.note_many([job.id], "something happened", now=NOW),
    "revise": lambda repo, job: repo.revise(job, {"max_rate": 9000}, now=NOW, reason="changed"),
    "transition_many": lambda repo, job: repo.transition_many([job], JobStatus.PAUSED, now=NOW),
    "move": lambda repo, job: repo.move([job], Priority.HIGH, now=NOW),
    "active_duplicate": lambda repo, job: repo.active_duplicate(job),
    "requeue_due": lambda repo, job: repo.requeue_due(NOW),
    "running_not_updated_since": lambda repo, job: repo.running_not_updated_since(NOW),
    "unpublished": lambda repo, job: repo.unpublished(NOW),
    "published_before": lambda repo, job: repo.published_before(NOW, Priority.NORMAL),
    "pending_controls": lambda repo, job: repo.pending_controls(),
    "save_progress": lambda repo, job: repo.save_progress([ROW], NOW),
}


@pytest.fixture
def database(migrated_postgres_url: str) -> Iterator[Database]:
    database = Database(migrated_postgres_url)
    yield database
    database.close()


def complaints(repo: JobRepository, job: Job) -> list[str]:
    wrong = []
    for name, use in EVERY.items():
        try:
            use(repo, job)
        except DatabaseUnavailableError:
            continue
        except Exception as error:
            wrong.append(f"{name}: {error!r}")
        else:
            wrong.append(f"{name}: no error")
    return wrong


def test_every_method_is_listed() -> None:
    assert {name for name in dir(JobRepository) if not name.startswith("_")} == set(EVERY)


@pytest.mark.parametrize("end", [PostgresServer.stop, PostgresServer.crash])
def test_a_server_that_stops_and_comes_back(
    database: Database, postgres: PostgresServer, end: Callable[[PostgresServer], None]
) -> None:
    repo = JobRepository(database)
    job = new_job(status=JobStatus.DOWNLOADING)
    repo.add([job])
    end(postgres)
    try:
        assert complaints(repo, job) == []
        with pytest.raises(DatabaseUnavailableError):
            UserRepository(database).get("x")
        with pytest.raises(DatabaseUnavailableError):
            migrate.current(database)
    finally:
        postgres.start()
    # The pool's old connections are dead; callers get no error.
    assert repo.get(job.id) == job
    assert repo.transition(job, JobStatus.VERIFYING, now=NOW) is not None


def test_a_restart_between_two_calls_raises_no_error(
    database: Database, postgres: PostgresServer
) -> None:
    repo = JobRepository(database)
    job = new_job(status=JobStatus.DOWNLOADING)
    repo.add([job])
    postgres.stop()
    postgres.start()
    assert repo.get(job.id) == job
    postgres.crash()
    postgres.start()
    assert repo.transition(job, JobStatus.VERIFYING, now=NOW) is not None


def test_an_open_transaction_is_rolled_back_when_the_server_goes(
    database: Database, postgres: PostgresServer
) -> None:
    repo = JobRepository(database)
    job = new_job()

    def write_half() -> None:
        with database.write() as connection:
            values = {"id": "u", "email": "e", "display_name": "d", "role": "r"}
            connection.execute(insert(users).values(**values, created_at=NOW, updated_at=NOW))
            postgres.crash()
            connection.execute(select(users))

    with pytest.raises(DatabaseUnavailableError):
        write_half()
    postgres.start()
    assert UserRepository(database).get("u") is None
    repo.add([job])
    assert repo.get(job.id) == job


def test_an_sqlite_file_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "seen.db").mkdir()
    database = Database(f"sqlite:///{tmp_path / 'seen.db'}")
    assert complaints(JobRepository(database), new_job(status=JobStatus.DOWNLOADING)) == []
    database.close()


@pytest.mark.parametrize(
    "content",
    [b"this is no database" * 1000, b"SQLite format 3\x00" + b"\xff" * 8_000, bytes(5_000)],
)
def test_a_damaged_sqlite_file_is_reported_in_words(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "seen.db"
    path.write_bytes(content)
    database = Database(f"sqlite:///{path}")
    with pytest.raises(DatabaseUnavailableError, match="restore it from a backup"):
        JobRepository(database).find()
    database.close()


def test_an_sqlite_file_that_is_damaged_while_it_is_open_is_reported_in_words(
    tmp_path: Path,
) -> None:
    path = tmp_path / "seen.db"
    write_migrated(path)
    database = Database(f"sqlite:///{path}")
    repo = JobRepository(database)
    repo.add([new_job()])
    with closing(sqlite3.connect(path)) as other:  # whose change makes the file be read again
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        other.execute("CREATE TABLE other (id)")
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with path.open("r+b") as file:
            file.write(b"x" * 4096)
        assert complaints(repo, new_job(status=JobStatus.DOWNLOADING)) == []
    database.close()


# ── secrets ─────────────────────────────────────────────────────────────────────────────────────


def everything_said(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)) + repr(error)


def test_no_error_shows_a_jobs_url(database_url: str) -> None:
    database = Database(database_url)
    repo = JobRepository(database)
    job = new_job(url=SECRET, created_at=NOW)
    with pytest.raises(Exception, match="jobs") as unmigrated:
        repo.add([job])
    migrate.upgrade(database)
    repo.add([job])
    with pytest.raises(sqlalchemy.exc.IntegrityError) as twice:
        repo.add([new_job(), job])
    with pytest.raises(ValueError, match="no time zone") as naive:
        repo.add([new_job(url=SECRET, created_at=NOW.replace(tzinfo=None))])
    database.close()
    for caught in (unmigrated, twice, naive):
        assert "hunter2" not in everything_said(caught.value)


def test_no_error_shows_the_databases_password(tmp_path: Path) -> None:
    database = Database(f"postgresql+psycopg://me:hunter2@/x?host={tmp_path}")
    with pytest.raises(DatabaseUnavailableError) as caught:
        JobRepository(database).find()
    database.close()
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(database.engine)


def test_times_decide_by_the_callers_clock(database: Database) -> None:
    repo = JobRepository(database)
    far = NOW + timedelta(days=36_500)
    job = new_job(status=JobStatus.WAITING, next_attempt_at=far)
    repo.add([job])
    assert repo.requeue_due(far - timedelta(microseconds=1)) == []
    assert [one.id for one in repo.requeue_due(far)] == [job.id]


_WITHOUT_DESCRIPTORS = """
import resource, sys
from database import Database, JobRepository
from domain.errors import DatabaseUnavailableError

database = Database(sys.argv[1])
repo = JobRepository(database)
if sys.argv[2] == "used":
    repo.count_by_status()
before = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
try:
    with database.read() as one, database.read() as other:
        one.exec_driver_sql("SELECT 1"), other.exec_driver_sql("SELECT 1")
except DatabaseUnavailableError as error:
    print(error)
finally:
    resource.setrlimit(resource.RLIMIT_NOFILE, before)
repo.count_by_status()
"""


@pytest.mark.parametrize("before", ["used", "not used"])
def test_database_is_unavailable_to_a_process_without_descriptors(
    migrated_url: str, before: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT_DESCRIPTORS, migrated_url, before],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("The database does not answer"), done.stdout


def test_database_without_tables_names_the_command_that_creates_them(database_url: str) -> None:
    with closing(Database(database_url)) as database:
        for name in ("add", "find"):
            with pytest.raises(
                DatabaseUnavailableError, match=r"lacks tables .*: seen db upgrade$"
            ):
                EVERY[name](JobRepository(database), new_job())
