"""Work on many rows of which another session has locked one for too long: the others are done."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection, event, select

from database import Database, JobRepository
from database.clock_skew import correct_future_times
from database.job_rows import ProgressRow
from database.models import jobs as table
from domain.byte_counts import ByteCounts
from domain.errors import DatabaseUnavailableError
from domain.job import Job, JobStatus
from tests.support.build import NOW, new_job
from tests.support.databases import write_migrated

S = JobStatus
LATER = NOW + timedelta(seconds=5)
FAR = NOW + timedelta(days=9)
COUNT, LOCKED = 4, 1


def progress(job: Job) -> ProgressRow:
    counts = ByteCounts(7, 7, 9)
    return ProgressRow(
        job_id=job.id, version=(job.fence << 32) + 1, counts=counts, speed_mbps=1.0, reported_at=NOW
    )


def mark(repo: JobRepository, jobs: list[Job]) -> None:
    assert repo.mark_published(jobs, LATER) in ([], [jobs[LOCKED].id])


def save(repo: JobRepository, jobs: list[Job]) -> None:
    assert repo.save_progress([progress(job) for job in jobs], NOW) in ([], [jobs[LOCKED].id])


def requeue_orphans(repo: JobRepository, jobs: list[Job]) -> None:
    repo.transition_many(jobs, S.QUEUED, now=LATER, may_leave_out=True)


#: What is done, to jobs of which state, and whether it was done to one.
KINDS: dict[
    str,
    tuple[
        Callable[[JobRepository, list[Job]], object],
        dict[str, object],
        Callable[[JobRepository, Job], bool],
    ],
] = {
    "mark_published": (mark, {}, lambda repo, job: job.published_at == LATER),
    "mark_published, of several times": (
        mark,
        {"updated_at": None},
        lambda repo, job: job.published_at == LATER,
    ),
    "save_progress": (
        save,
        {"status": S.DOWNLOADING, "fence": 3},
        lambda repo, job: job.bytes_downloaded == 7,
    ),
    "note_many": (
        lambda repo, jobs: repo.note_many([job.id for job in jobs], "x", now=LATER),
        {},
        lambda repo, job: repo.events(job.id)[-1].reason == "x",
    ),
    "reset_progress": (
        lambda repo, jobs: repo.reset_progress(jobs, now=LATER),
        {"status": S.PAUSED, "bytes_downloaded": 5, "bytes_durable": 5},
        lambda repo, job: job.bytes_durable == 0,
    ),
    "orphans": (
        requeue_orphans,
        {"status": S.DOWNLOADING, "fence": 3},
        lambda repo, job: job.status is S.QUEUED,
    ),
    "times in the future": (
        lambda repo, jobs: correct_future_times(repo._database, NOW, 60),
        {"status": S.WAITING, "next_attempt_at": FAR},
        lambda repo, job: job.next_attempt_at != FAR,
    ),
}


def stored(repo: JobRepository, fields: dict[str, object]) -> list[Job]:
    """Store jobs with these fields; `updated_at` differs if it is among them."""
    times = [{"updated_at": NOW + timedelta(seconds=n)} for n in range(COUNT)]
    has_times = "updated_at" in fields
    return repo.add([new_job(**(fields | one if has_times else fields)) for one in times])


@pytest.mark.parametrize("kind", KINDS)
def test_all_rows_but_a_locked_one(migrated_postgres_url: str, kind: str) -> None:
    do, fields, is_done = KINDS[kind]
    database = Database(migrated_postgres_url)
    event.listen(database.engine, "begin", _impatient)
    repo, holder = JobRepository(database), Database(migrated_postgres_url)
    jobs = stored(repo, fields)
    row = select(table.c.id).where(table.c.id == jobs[LOCKED].id).with_for_update()
    with holder.write() as connection:
        connection.execute(row)
        do(repo, jobs)
        done = [is_done(repo, repo.get(job.id)) for job in jobs]
        assert done == [n != LOCKED for n in range(COUNT)]
    do(repo, jobs)
    assert all(is_done(repo, repo.get(job.id)) for job in jobs)
    database.close()
    holder.close()


def _impatient(connection: Connection) -> None:
    """Let the server end each statement soon that waits for a lock."""
    connection.exec_driver_sql("SET LOCAL lock_timeout = 50")


@pytest.mark.parametrize("kind", KINDS)
def test_a_locked_sqlite_database_is_the_error_of_all(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    do, fields, is_done = KINDS[kind]
    monkeypatch.setattr("database.engine.SQLITE_BUSY_SECONDS", 0.05)
    write_migrated(tmp_path / "seen.db")
    database = Database(f"sqlite:///{tmp_path / 'seen.db'}")
    repo = JobRepository(database)
    jobs = stored(repo, fields)
    with closing(sqlite3.connect(tmp_path / "seen.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseUnavailableError, match="has locked it"):
            do(repo, jobs)
        other.execute("ROLLBACK")
    assert not any(is_done(repo, repo.get(job.id)) for job in jobs)
    do(repo, jobs)
    assert all(is_done(repo, repo.get(job.id)) for job in jobs)
    database.close()
