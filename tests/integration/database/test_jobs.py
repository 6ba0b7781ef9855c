"""Jobs in SQL: stored, read back, found, listed; on SQLite and PostgreSQL alike."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
import sqlalchemy.exc
from sqlalchemy import text, update

from database import Database, JobRepository
from database.models import jobs
from domain.errors import UnknownJobError
from domain.ids import new_job_id
from domain.job import JobFilter, JobStatus, Priority
from tests.support.build import NOW, new_job
from tests.support.services.operations import claim, note
from tests.support.wait import wait_until

S = JobStatus
LATER = NOW + timedelta(seconds=5)


def test_a_job_comes_back_as_it_was(repo: JobRepository) -> None:
    plain = new_job()
    full = new_job(
        url="https://example.com/ü?x=1",
        directory="films/ü",
        name="Der Film.mkv",
        checksum="sha512:" + "a" * 128,
        user_id="ü" * 200,
        overwrite=True,
        mirrors=("https://a.example/ü", "ftp://b.example/x"),
        host="example.com",
        max_bytes=2**63 - 1,
        max_rate=2**50,
        connections=32,
        decode=True,
        secrets="X-Key,cookies " + "t" * 40_000,
        status=S.COMPLETED,
        fence=2**40,
        attempts=3,
        worker="host:1",
        control="cancel",
        reason="why\nso",
        error_code="x" * 64,
        next_attempt_at=NOW,
        published_at=NOW,
        started_at=NOW,
        finished_at=NOW,
        bytes_downloaded=2**62,
        bytes_total=2**62 + 1,
        bytes_durable=2**62 - 1,
        speed_mbps=15.25,
        path="/x/ü.mkv",
        sha256="b" * 64,
    )
    repo.add([plain, full])
    assert repo.get(plain.id) == plain
    assert repo.get(full.id) == full
    assert repo.get_many([plain.id, full.id, new_job_id()]) == {plain.id: plain, full.id: full}
    repo.add([])
    assert repo.get_many([]) == {}


@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=5, minutes=45))])
def test_a_time_comes_back_as_the_same_moment_in_utc(repo: JobRepository, zone: timezone) -> None:
    moment = datetime(2026, 3, 29, 2, 30, 0, 1, tzinfo=zone)
    job = new_job(created_at=moment, updated_at=moment)
    repo.add([job])
    found = repo.get(job.id).created_at
    assert found == moment
    assert found.tzinfo == UTC or found.utcoffset() == timedelta(0)


def test_a_time_without_zone_is_refused(repo: JobRepository) -> None:
    with pytest.raises(ValueError, match="no time zone"):
        repo.add([new_job(created_at=NOW.replace(tzinfo=None))])
    assert repo.find() == []


def test_several_jobs_are_stored_all_or_none(repo: JobRepository) -> None:
    there, fresh = new_job(), new_job()
    repo.add([there])
    with pytest.raises(sqlalchemy.exc.IntegrityError):
        repo.add([fresh, new_job(id=there.id)])
    assert repo.find() == [there]
    assert repo.events(fresh.id) == []


@pytest.mark.parametrize(
    "job_id", ["01890a5d-ac96-774b-bcce-b302099a8057", "", "x" * 5000, "a\0b", "\ud800", "'; --"]
)
def test_an_unknown_job_has_an_error_of_its_own(repo: JobRepository, job_id: str) -> None:
    with pytest.raises(UnknownJobError) as caught:
        repo.get(job_id)
    assert caught.value.job_id == job_id
    assert repo.get_many([job_id]) == {}
    assert claim(repo, job_id, worker="w", now=NOW) is None
    assert repo.events(job_id) == []


def test_jobs_are_found_the_newest_first_page_by_page(repo: JobRepository) -> None:
    made = [new_job(user_id="me" if number % 2 else None) for number in range(25)]
    repo.add(made)
    newest = [job.id for job in reversed(made)]
    first = repo.find(limit=10)
    second = repo.find(limit=10, before_id=first[-1].id)
    third = repo.find(limit=10, before_id=second[-1].id)
    assert [job.id for job in [*first, *second, *third]] == newest
    assert repo.find(before_id=third[-1].id) == []
    mine = repo.find(JobFilter(user_id="me"))
    assert [job.id for job in mine] == [job.id for job in reversed(made) if job.user_id]
    assert [
        job.id for job in repo.find(JobFilter(user_id="me"), before_id=mine[3].id, limit=2)
    ] == [job.id for job in mine[4:6]]
    assert repo.find(JobFilter(user_id="nobody")) == []


def test_jobs_are_found_and_counted_by_state(repo: JobRepository) -> None:
    repo.add([new_job(status=status) for status in S for _ in range(2)])
    repo.add([new_job(status=S.FAILED, user_id="me")])
    assert {job.status for job in repo.find(JobFilter(S.PAUSED))} == {S.PAUSED}
    assert len(repo.find(JobFilter(S.FAILED))) == 3
    assert len(repo.find(JobFilter(S.FAILED, user_id="me"))) == 1
    assert repo.count_by_status() == {status: 3 if status is S.FAILED else 2 for status in S}


def test_an_empty_table_has_no_counts(repo: JobRepository) -> None:
    assert repo.count_by_status() == {}
    assert repo.find() == []


def test_a_note_is_an_event_without_a_change(repo: JobRepository) -> None:
    repo.add([new_job(id="j")])
    job = claim(repo, "j", worker="w", now=NOW)
    assert job is not None
    assert note(repo, job, "starts over: the file has changed", now=LATER) is True
    assert repo.get("j") == job
    event = repo.events("j")[-1]
    assert (event.from_status, event.to_status, event.at) == (S.DOWNLOADING, S.DOWNLOADING, LATER)
    assert (event.worker, event.fence, event.attempt) == ("w", 1, 1)
    assert event.reason == "starts over: the file has changed"
    assert note(repo, replace(job, fence=0), "of an older claim", now=LATER) is False
    assert repo.events("j")[-1] == event


def test_a_completed_job_keeps_no_secrets(repo: JobRepository) -> None:
    done = [new_job(status=S.VERIFYING, secrets="cookies token") for _ in range(2)]
    repo.add(done)
    for job, end, left in zip(done, (S.COMPLETED, S.FAILED), (None, "cookies token"), strict=True):
        ended = repo.transition(job, end, now=LATER)
        assert ended is not None
        assert ended.secrets == left


def test_a_note_stands_behind_the_change_that_it_had_to_wait_for(
    migrated_postgres_url: str,
) -> None:
    """Given a claim that commits while a note waits to be written: the note has its state."""
    database = Database(migrated_postgres_url)
    repo = JobRepository(database)
    job = new_job()
    repo.add([job])
    waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    with ThreadPoolExecutor(1) as pool:
        with database.write() as claim:
            claim.execute(update(jobs).values(status=S.DOWNLOADING.value, fence=1))
            noted = pool.submit(repo.note_many, [job.id], "something", now=LATER)
            wait_until(lambda: claim.execute(waiting).scalar(), what="a note that waits")
        noted.result(30)
    note = repo.events(job.id)[-1]
    assert (note.from_status, note.to_status, note.fence) == (S.DOWNLOADING, S.DOWNLOADING, 1)
    database.close()


#: By the priority of a new job: how many of the older ones run, and are queued in front of it.
AHEAD = {Priority.HIGH: (2, 2), Priority.NORMAL: (2, 4), Priority.LOW: (2, 5)}


@pytest.mark.parametrize("priority", Priority)
def test_jobs_ahead_of_a_new_one_are_counted(
    database: Database, repo: JobRepository, priority: Priority
) -> None:
    requeued = new_job(status=S.QUEUED, priority=Priority.LOW)
    older = [
        new_job(status=S.QUEUED, priority=Priority.HIGH),
        new_job(status=S.QUEUED, priority=Priority.NORMAL),
        new_job(status=S.QUEUED, priority=Priority.NORMAL),
        new_job(status=S.QUEUED, priority=Priority.LOW),
        new_job(status=S.DOWNLOADING, priority=Priority.LOW),
        new_job(status=S.VERIFYING),
        *(new_job(status=one) for one in (S.WAITING, S.PAUSED, S.COMPLETED, S.FAILED, S.CANCELLED)),
    ]
    job = new_job(priority=priority)
    repo.add([requeued, *older, job, new_job(status=S.QUEUED, priority=Priority.HIGH)])
    with database.write() as connection:
        connection.execute(update(jobs).where(jobs.c.id == requeued.id).values(requeued=True))
    assert repo.count_ahead(job) == AHEAD[priority]
