"""The columns that revision 0007 has renamed, as the version before and this one write them at once."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from alembic import command
from sqlalchemy import Column, MetaData, Table, insert, select, text, update
from sqlalchemy.dialects import postgresql, sqlite

from database import Database, JobRepository, migrate
from database.models import HOLDS_DEDUP_KEY, jobs
from domain.job import Job, JobStatus
from tests.integration.database.test_migrate import config
from tests.support.build import new_job

NOW = datetime(2031, 1, 1, tzinfo=UTC)
RENAMED = {"flight": "dedup_key", "in_front": "requeued", "spent_at": "message_consumed_at"}

#: The table as the version before knows it.
old_jobs = Table(
    "jobs",
    MetaData(),
    *(
        Column(one.name, one.type, primary_key=one.primary_key)
        for one in jobs.columns
        if one.name not in RENAMED.values()
    ),
)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    migrate.upgrade(database)
    yield database
    database.close()


def old_row(dedup_key: str | None, **values: Any) -> dict[str, Any]:
    row = {"id": str(uuid.uuid4()), "url": "https://example.org/a", "directory": ""}
    times = {"max_attempts": 3, "created_at": NOW, "updated_at": NOW}
    return {**row, **times, "status": "queued", "flight": dedup_key, **values}


def old_insert(database: Database, rows: list[dict[str, Any]]) -> set[str]:
    """Insert as the version before does; return the ids of the rows that were."""
    dialect = sqlite if database.is_sqlite else postgresql
    statement = dialect.insert(old_jobs).on_conflict_do_nothing(
        index_elements=[old_jobs.c.flight], index_where=HOLDS_DEDUP_KEY
    )
    return database.transact(
        lambda connection: set(
            connection.execute(statement.returning(old_jobs.c.id), rows).scalars()
        )
    )


def both_names(database: Database, job_id: str) -> list[tuple[Any, Any]]:
    """The values under the old and the new names."""
    pairs = [(jobs.c[old], jobs.c[new]) for old, new in RENAMED.items()]
    query = select(*(column for pair in pairs for column in pair)).where(jobs.c.id == job_id)
    with database.read() as connection:
        values = list(connection.execute(query).one())
    return list(zip(values[::2], values[1::2], strict=True))


def key() -> str:
    return uuid.uuid4().hex * 2


def test_a_row_has_both_names_whichever_version_inserts_it(database: Database) -> None:
    mine, theirs = new_job(dedup_key=key()), old_row(key())
    JobRepository(database).add([mine])
    assert old_insert(database, [theirs]) == {theirs["id"]}
    assert both_names(database, mine.id) == [(mine.dedup_key,) * 2, (False, False), (None, None)]
    assert both_names(database, theirs["id"])[0] == (theirs["flight"], theirs["flight"])
    assert JobRepository(database).get(theirs["id"]).dedup_key == theirs["flight"]


def test_a_request_is_one_job_whichever_versions_it_is_submitted_to(database: Database) -> None:
    repo = JobRepository(database)
    mine, theirs = new_job(dedup_key=key()), old_row(key())
    other, unrelated = old_row(mine.dedup_key), old_row(None)
    repo.add([mine])
    assert old_insert(database, [theirs, other, unrelated]) == {theirs["id"], unrelated["id"]}
    (answer,) = repo.add([new_job(dedup_key=theirs["flight"])])
    assert answer.id == theirs["id"]


def test_both_versions_that_insert_the_same_at_once_never_fail(database: Database) -> None:
    """However they meet, each key has one job in the end, and each caller has its id or none."""
    keys = [key() for _ in range(200)]
    repo = JobRepository(database)

    def new_version(_: int) -> None:
        for start in range(0, len(keys), 5):
            found = repo.add([new_job(dedup_key=one) for one in keys[start : start + 5]])
            assert [job.dedup_key for job in found] == keys[start : start + 5]

    def old_version(_: int) -> None:
        for start in range(0, len(keys), 5):
            # In order of the keys, as both versions do against deadlocks.
            old_insert(database, [old_row(one) for one in sorted(keys[start : start + 5])])

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(new_version, n) for n in range(4)] + [
            pool.submit(old_version, n) for n in range(4)
        ]:
            done.result()
    with database.read() as connection:
        stored = connection.execute(select(jobs.c.flight, jobs.c.dedup_key)).all()
    assert sorted(row.flight for row in stored) == sorted(keys)
    assert all(row.flight == row.dedup_key for row in stored)


@pytest.mark.parametrize("table", [old_jobs, jobs], ids=["the version before", "this version"])
def test_an_update_under_one_name_is_seen_under_the_other(database: Database, table: Table) -> None:
    repo = JobRepository(database)
    job = new_job(dedup_key=key())
    repo.add([job])
    names = list(RENAMED) if table is old_jobs else list(RENAMED.values())
    later = NOW + timedelta(seconds=1)
    for values in ([job.dedup_key, True, NOW], ["0" * 64, False, later], [None, True, None]):
        new_values = dict(zip(names, values, strict=True))
        for one in ({name: value} for name, value in new_values.items()):
            statement = update(table).where(table.c.id == job.id).values(one)
            with database.write() as connection:
                connection.execute(statement)
        assert both_names(database, job.id) == [(value, value) for value in values]


def test_the_retry_of_a_finished_job_is_refused_by_the_key_under_either_name(
    database: Database,
) -> None:
    repo = JobRepository(database)
    failed = new_job(dedup_key=key(), status=JobStatus.FAILED, finished_at=NOW)
    repo.add([failed])
    holder = old_row(failed.dedup_key)
    assert old_insert(database, [holder]) == {holder["id"]}
    assert repo.active_duplicate(failed) == holder["id"]
    assert repo.transition_many([failed], JobStatus.QUEUED, now=NOW) == []


def test_jobs_keep_their_values_through_downgrade_and_upgrade(database: Database) -> None:
    repo = JobRepository(database)
    made: list[Job] = [
        new_job(dedup_key=key()),
        new_job(dedup_key=key(), status=JobStatus.COMPLETED, finished_at=NOW),
        new_job(),
    ]
    repo.add(made)
    with database.write() as connection:
        connection.execute(
            update(jobs).where(jobs.c.id == made[0].id).values(requeued=True, spent_at=NOW)
        )
    before = [both_names(database, job.id) for job in made]
    down = config()
    with database.write() as connection:
        down.attributes["connection"] = connection
        command.downgrade(down, "0006")
    theirs = old_row(key())
    with database.write() as connection:
        old_rows = connection.execute(text("SELECT id, flight FROM jobs")).all()
        assert {row.id: row.flight for row in old_rows} == {job.id: job.dedup_key for job in made}
        connection.execute(insert(old_jobs).values(theirs))
    assert migrate.upgrade(database) is True
    assert [both_names(database, job.id) for job in made] == before
    assert repo.get_many([job.id for job in made]) == {job.id: job for job in made}
    assert repo.get(theirs["id"]).dedup_key == theirs["flight"]
