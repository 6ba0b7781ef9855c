"""Each state of PostgreSQL, as a real server sends it: who waits, who fails, and what a person reads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import psycopg
import psycopg.errors
import pytest
from sqlalchemy import Connection, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from database import Database, JobRepository, migrate
from database.conditions.postgres import STATES
from database.conditions.verdict import RAISED
from database.models import jobs as table
from domain.errors import DatabaseUnavailableError
from domain.job import JobStatus
from tests.support.build import NOW, new_job
from tests.support.servers.postgres import PostgresServer
from tests.support.wait import wait_until


@pytest.fixture
def database(migrated_postgres_url: str) -> Iterator[Database]:
    database = Database(migrated_postgres_url)
    yield database
    database.close()


@pytest.fixture
def admin(migrated_postgres_url: str) -> Iterator[psycopg.Connection]:
    """A connection of the superuser, beside the pool."""
    url = make_url(migrated_postgres_url).set(drivername="postgresql")
    with psycopg.connect(url.render_as_string(hide_password=False), autocommit=True) as connection:
        yield connection


def do(statement: str) -> Callable[[Connection], object]:
    return lambda connection: connection.exec_driver_sql(statement)


# ── as the server raises them ───────────────────────────────────────────────────────────────────


def test_a_standby_only_reads_and_writes_again_when_it_is_promoted() -> None:
    with PostgresServer() as server:
        server.start()
        database = Database(server.url())
        migrate.upgrade(database)
        repo, job = JobRepository(database), new_job(status=JobStatus.DOWNLOADING)
        repo.add([job])
        server.become_standby()
        assert repo.get(job.id) == job
        with pytest.raises(DatabaseUnavailableError, match="target_session_attrs=read-write"):
            repo.transition(job, JobStatus.VERIFYING, now=NOW)
        with database.read() as connection:
            connection.exec_driver_sql("SELECT pg_promote()")
        assert repo.transition(job, JobStatus.VERIFYING, now=NOW) is not None
        database.close()


def test_connections_to_a_server_that_only_reads_are_made_again(
    database: Database, admin: psycopg.Connection
) -> None:
    """What a session has at its start stays: after a failover an old one would be used for ever."""
    repo, job = JobRepository(database), new_job(status=JobStatus.DOWNLOADING)
    repo.add([job])
    database.close()
    name = admin.info.dbname
    admin.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on'.encode())
    with pytest.raises(DatabaseUnavailableError, match="It only reads"):
        repo.transition(job, JobStatus.VERIFYING, now=NOW)
    with pytest.raises(DatabaseUnavailableError, match="It only reads"):
        repo.transition(job, JobStatus.VERIFYING, now=NOW)
    admin.execute("SET default_transaction_read_only = off")
    admin.execute(f'ALTER DATABASE "{name}" RESET default_transaction_read_only'.encode())
    assert repo.transition(job, JobStatus.VERIFYING, now=NOW) is not None


def test_a_session_that_is_ended(database: Database, admin: psycopg.Connection) -> None:
    others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"

    def work(connection: Connection) -> None:
        admin.execute(f"{others} AND datname = current_database()".encode())
        connection.exec_driver_sql("SELECT 1")

    with pytest.raises(DatabaseUnavailableError, match="terminating connection"):
        database.transact(work)
    assert JobRepository(database).count_by_status() == {}


def test_too_many_connections(
    database: Database, admin: psycopg.Connection, migrated_postgres_url: str
) -> None:
    role = f"one_{admin.info.dbname}"
    admin.execute(f'CREATE ROLE "{role}" LOGIN CONNECTION LIMIT 0'.encode())
    admin.execute(f'GRANT SELECT ON ALL TABLES IN SCHEMA public TO "{role}"'.encode())
    try:
        one = Database(
            make_url(migrated_postgres_url).set(username=role).render_as_string(hide_password=False)
        )
        with pytest.raises(DatabaseUnavailableError, match="too many connections"):
            JobRepository(one).find()
        admin.execute(f'ALTER ROLE "{role}" CONNECTION LIMIT 9'.encode())
        assert JobRepository(one).find() == []
        with pytest.raises(DatabaseUnavailableError, match="the rights of its user"):
            JobRepository(one).add([new_job()])
        one.close()
    finally:
        admin.execute(f'DROP OWNED BY "{role}"'.encode())
        admin.execute(f'DROP ROLE "{role}"'.encode())


@pytest.mark.parametrize(
    ("setting", "statement", "words"),
    [
        ("statement_timeout = 20", "SELECT pg_sleep(9)", "what holds its locks"),
        ("idle_in_transaction_session_timeout = 20", "", "does not answer"),
        # The least there is: sorting more than that needs a file.
        (
            "temp_file_limit = 64; SET LOCAL work_mem = 64",
            "SELECT count(DISTINCT repeat(x::text, 20)) FROM generate_series(1, 99999) x",
            "temp_file_limit",
        ),
    ],
)
def test_limits_of_the_server(
    database: Database, admin: psycopg.Connection, setting: str, statement: str, words: str
) -> None:
    def ended(pid: int) -> bool:
        seen = admin.execute("SELECT count(*) FROM pg_stat_activity WHERE pid = %s", [pid])
        return seen.fetchone() == (0,)

    def work(connection: Connection) -> None:
        connection.exec_driver_sql(f"SET LOCAL {setting}")
        if not statement:
            pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
            wait_until(lambda: ended(pid), what="the server ends the session")
        connection.exec_driver_sql(statement or "SELECT 1")

    with pytest.raises(DatabaseUnavailableError, match=words):
        database.transact(work)


def test_a_lock_that_is_waited_for_too_long(database: Database) -> None:
    job = new_job()
    JobRepository(database).add([job])
    row = select(table.c.id).where(table.c.id == job.id).with_for_update()

    def work(connection: Connection) -> None:
        connection.exec_driver_sql("SET LOCAL lock_timeout = 20")
        connection.execute(row)

    with database.write() as holder:
        holder.execute(row)
        with pytest.raises(DatabaseUnavailableError, match="what holds its locks"):
            database.transact(work)


def test_the_loser_of_a_deadlock_is_done_again(database: Database) -> None:
    first, second = sorted([new_job(), new_job()], key=lambda job: job.id)
    JobRepository(database).add([first, second])
    both, runs, failed = threading.Barrier(2), list[str](), list[BaseException]()

    def lock(*ids: str) -> None:
        is_first_run = True

        def work(connection: Connection) -> None:
            nonlocal is_first_run
            connection.exec_driver_sql("SET LOCAL deadlock_timeout = 50")
            runs.append(ids[0])
            for job_id in ids:
                connection.execute(select(table.c.id).where(table.c.id == job_id).with_for_update())
                if is_first_run:
                    is_first_run = False
                    both.wait(30)

        try:
            database.transact(work)
        except BaseException as error:
            failed.append(error)

    threads = [
        threading.Thread(target=lock, args=ids)
        for ids in ((first.id, second.id), (second.id, first.id))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failed == []
    assert len(runs) == 3


# ── every state that the driver knows ───────────────────────────────────────────────────────────

#: Classes of states, and the single states among them that differ.
WAITS = {"08", "28", "3D", "3F", "40", "53", "55", "57", "58", "72", "F0", "XX"}
WAITS_TOO = {"25006", "25P03", "25P04", "42501", "42703", "42P01"}
#: Of features that no statement of this service uses; the driver calls them operational.
FOREIGN = {"HV", "21", "24", "2F", "34", "38", "39", "3B", "0Z", "P0"}
#: No errors: success, warnings, no data.
NO_ERRORS = {"00", "01", "02"}

KNOWN = sorted(
    state
    for name in dir(psycopg.errors)
    if isinstance(state := getattr(getattr(psycopg.errors, name), "sqlstate", None), str)
    if state[:2] not in NO_ERRORS | FOREIGN
)


def test_every_state_of_the_server(database: Database) -> None:
    assert len(KNOWN) > 150
    wrong = []
    for state in KNOWN:
        expected = state[:2] in WAITS or state in WAITS_TOO
        raising = f"DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '{state}'; END $$"
        try:
            database.transact(do(raising))
        except DatabaseUnavailableError as error:
            if not expected:
                wrong.append(f"{state}: {error}")
        except DBAPIError as error:
            if expected:
                wrong.append(f"{state}: {error!r}")
    assert wrong == []


def test_each_entry_says_what_to_do_or_needs_no_words() -> None:
    for name, entry in STATES.items():
        assert len(name) in {2, 5}, name
        assert entry.remedy == "" or entry.remedy.endswith("."), name
        assert not (entry.remedy and entry.verdict in RAISED), name
