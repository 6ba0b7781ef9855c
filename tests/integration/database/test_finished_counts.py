"""The counts by state are exact after every change, whatever changes at the same time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from alembic import command
from sqlalchemy import func, insert, select, text

from database import Database, JobRepository, migrate
from database.models import finished_job_counts, jobs
from database.retention import Retention
from domain.job import FINISHED, TRANSITIONS, Job, JobStatus
from tests.integration.database.test_migrate import config
from tests.support.build import NOW, new_job

S = JobStatus


def counted(database: Database) -> dict[S, int]:
    """The true numbers, by reading all jobs."""
    with database.read() as connection:
        query = select(jobs.c.status, func.count()).group_by(jobs.c.status)
        return {S(status): count for status, count in connection.execute(query)}


def rows_of_counts(database: Database) -> int:
    with database.read() as connection:
        return connection.execute(
            select(func.count()).select_from(finished_job_counts)
        ).scalar_one()


@pytest.mark.parametrize(
    ("before", "after"), [(one, other) for one in S for other in sorted(TRANSITIONS[one])]
)
def test_each_change_of_state_is_counted(
    database: Database, repo: JobRepository, before: S, after: S
) -> None:
    job = new_job(status=before, finished_at=NOW if before in FINISHED else None)
    repo.add([job, new_job(status=before), new_job(status=S.COMPLETED), new_job()])
    assert repo.count_by_status() == counted(database)
    changed = repo.transition(job, after, now=NOW)
    assert changed is not None
    assert repo.count_by_status() == counted(database)
    assert repo.transition(job, after, now=NOW) is None  # it is not in that state any more
    assert repo.count_by_status() == counted(database)


def test_deleted_jobs_are_counted_no_more(database: Database, repo: JobRepository) -> None:
    ended = [new_job(status=status, finished_at=NOW) for status in FINISHED for _ in range(3)]
    repo.add([*ended, new_job()])
    Retention(database).delete_finished([ended[0].id])
    assert repo.count_by_status() == counted(database)
    assert len(Retention(database).delete_some(NOW + timedelta(days=1)).job_ids) == 8
    assert repo.count_by_status() == {S.QUEUED: 1}


def test_what_is_rolled_back_is_not_counted(database: Database, repo: JobRepository) -> None:
    repo.add([new_job(status=S.FAILED)])
    with database.engine.connect() as connection:
        connection.execute(jobs.update().values(status=S.COMPLETED.value))
        connection.rollback()
    assert repo.count_by_status() == {S.FAILED: 1}


def test_merging_changes_no_count_while_jobs_end(database: Database, repo: JobRepository) -> None:
    running = [new_job(status=S.DOWNLOADING) for _ in range(600)]
    repo.add(running)

    def fail(some: list[Job]) -> None:
        for job in some:
            repo.transition(job, S.FAILED, now=NOW)

    def merge(_: int) -> None:
        for _ in range(10):
            Retention(database).merge_counts()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(fail, (running[start::4] for start in range(4))))
        ended = [pool.submit(fail, [job]) for job in running]  # no effect
        list(pool.map(merge, range(2)))
        for one in ended:
            one.result()
    assert repo.count_by_status() == {S.FAILED: len(running)}
    Retention(database).merge_counts()
    assert rows_of_counts(database) < 500
    assert repo.count_by_status() == {S.FAILED: len(running)}


def test_a_migration_counts_what_there_is(database_url: str) -> None:
    database = Database(database_url)
    migrate.upgrade(database)
    with database.write() as connection:
        down = config()
        down.attributes["connection"] = connection
        command.downgrade(down, "0009")
        row = {"url": "https://a.example/", "directory": "", "max_attempts": 1}
        times = {"created_at": NOW, "updated_at": NOW}
        states = [S.FAILED, S.FAILED, S.COMPLETED, S.QUEUED]
        rows = [{"id": f"{n}", "status": one.value, **row, **times} for n, one in enumerate(states)]
        connection.execute(insert(jobs), rows)
    migrate.upgrade(database)
    with database.write() as connection:
        connection.execute(text("UPDATE jobs SET status = 'queued' WHERE id = '0'"))
    expected = {S.FAILED: 1, S.COMPLETED: 1, S.QUEUED: 2}
    assert JobRepository(database).count_by_status() == expected
    database.close()
