"""Jobs in SQL: stored, read back, found, listed; on SQLite and PostgreSQL alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
import sqlalchemy.exc
from sqlalchemy import select, text, update

from database import Database, JobRepository, migrate
from database.models import jobs
from domain.errors import UnknownJobError
from domain.ids import new_job_id
from domain.job import Job, JobFilter, JobStatus, Priority, QueuedJob
from tests.support.build import NOW, new_job
from tests.support.wait import wait_until

S = JobStatus
LATER = NOW + timedelta(seconds=5)
NORMAL = Priority.NORMAL


def ids(queued: Sequence[QueuedJob]) -> list[str]:
    """Their ids, in the same order."""
    return [job.id for job in queued]


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
    with pytest.raises(sqlalchemy.exc.StatementError, match="no time zone"):
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
    assert repo.claim(job_id, worker="w", now=NOW) is None
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


# ── what is to be published, woken, looked after ────────────────────────────────────────────────


def test_unpublished_jobs_are_found(repo: JobRepository) -> None:
    old, fresh = new_job(), new_job(updated_at=LATER)
    done, busy = new_job(published_at=NOW), new_job(status=S.DOWNLOADING)
    repo.add([old, fresh, done, busy])
    assert ids(repo.unpublished(NOW)) == [old.id]
    assert ids(repo.unpublished(LATER)) == [old.id, fresh.id]
    assert ids(repo.unpublished(LATER, limit=1)) == [old.id]
    repo.mark_published([old], LATER)
    assert ids(repo.unpublished(LATER)) == [fresh.id]
    repo.mark_published([], LATER)


def test_published_jobs_that_were_not_claimed_are_found(repo: JobRepository) -> None:
    old, fresh = new_job(published_at=NOW), new_job(published_at=LATER)
    repo.add([old, fresh, new_job(), new_job(status=S.FAILED, published_at=NOW)])
    assert ids(repo.published_before(NOW, NORMAL)) == [old.id]
    assert ids(repo.published_before(LATER, NORMAL)) == [old.id, fresh.id]
    assert ids(repo.published_before(LATER, NORMAL, limit=1)) == [old.id]


def test_only_a_queued_job_gets_another_message(repo: JobRepository) -> None:
    queued = new_job(published_at=NOW)
    running = new_job(published_at=NOW, status=S.DOWNLOADING)
    repo.add([queued, running])
    repo.mark_message_consumed(queued.id)
    repo.mark_message_consumed(running.id)
    assert repo.get(queued.id).published_at is None
    assert repo.get(running.id) == running


def claim(repo: JobRepository, job: Job) -> Job | None:
    return repo.claim(job.id, worker="w", now=LATER)


def claim_and_hand_back(repo: JobRepository, job: Job) -> Job | None:
    running = claim(repo, job)
    return running and repo.transition(running, S.QUEUED, now=LATER)


def pause(repo: JobRepository, job: Job) -> Job | None:
    return repo.transition(job, S.PAUSED, now=LATER)


def pause_and_resume(repo: JobRepository, job: Job) -> Job | None:
    paused = pause(repo, job)
    return paused and repo.transition(paused, S.QUEUED, now=LATER)


def move(repo: JobRepository, job: Job) -> Job | None:
    return repo.move([job], Priority.HIGH, now=LATER)[0]


def move_and_back(repo: JobRepository, job: Job) -> Job | None:
    return repo.move(repo.move([job], Priority.HIGH, now=LATER), NORMAL, now=LATER)[0]


@pytest.mark.parametrize(
    "change", [claim, claim_and_hand_back, pause, pause_and_resume, move, move_and_back]
)
def test_what_came_before_the_note_of_a_message_goes_before_it(
    repo: JobRepository, change: Callable[[JobRepository, Job], Job | None]
) -> None:
    job = new_job()
    repo.add([job])
    changed = change(repo, job)
    repo.mark_published([job], LATER)
    assert changed is not None
    assert repo.get(job.id) == changed
    assert changed.published_at is None


def test_a_spent_message_is_not_noted_and_a_newer_one_is(repo: JobRepository) -> None:
    job = new_job()
    repo.add([job])
    repo.mark_message_consumed(job.id, LATER)
    repo.mark_message_consumed(job.id, NOW)  # an older one, somewhat late
    repo.mark_published([job], LATER)
    assert repo.get(job.id).published_at is None
    newer = LATER + timedelta(microseconds=1)
    repo.mark_published([job], newer)
    repo.mark_published([job], LATER)
    repo.mark_message_consumed(job.id, LATER)
    assert repo.get(job.id).published_at == newer
    repo.mark_message_consumed(job.id, newer)
    assert repo.get(job.id).published_at is None


def test_a_move_changes_the_time_of_a_job_only_where_it_waits(repo: JobRepository) -> None:
    queued, running = new_job(), new_job(status=S.DOWNLOADING)
    repo.add([queued, running])
    moved = repo.move([queued, running], Priority.LOW, now=LATER)
    assert [job.updated_at for job in moved] == [LATER, NOW]


def test_requeued_jobs_are_told_from_queued_ones(repo: JobRepository) -> None:
    made = [new_job() for _ in range(3)]
    repo.add(made)
    requeued, behind, again = made
    repo.mark_published([requeued, again], NOW, requeued=True)
    repo.mark_published([behind], NOW)
    repo.mark_published([again], LATER)
    assert ids(repo.published_before(LATER, None)) == [requeued.id]
    assert ids(repo.published_before(LATER, NORMAL)) == [behind.id, again.id]
    assert ids(repo.published_before(LATER, NORMAL, after_id=behind.id)) == [again.id]
    assert ids(repo.published_before(NOW, NORMAL)) == [behind.id]


def test_many_jobs_at_once(repo: JobRepository) -> None:
    made = [new_job() for _ in range(2_000)]
    repo.add(made)
    # More than a statement may have parameters on PostgreSQL.
    unknown = [QueuedJob(new_job_id(), NORMAL, NOW) for _ in range(70_000)]
    some: list[Job | QueuedJob] = [*made, *unknown]
    repo.mark_published(some, LATER)
    assert len(repo.get_many([job.id for job in some])) == 2_000
    assert repo.unpublished(LATER) == []
    assert len(repo.published_before(LATER, NORMAL, limit=5000)) == 2_000


def test_due_jobs_are_woken_once(repo: JobRepository) -> None:
    due = [new_job(status=S.WAITING, next_attempt_at=NOW, published_at=NOW) for _ in range(3)]
    later = new_job(status=S.WAITING, next_attempt_at=LATER)
    paused = new_job(status=S.PAUSED, next_attempt_at=NOW)
    repo.add([*due, later, paused])
    assert set(ids(repo.requeue_due(NOW))) == {job.id for job in due}
    assert repo.requeue_due(NOW) == []
    woken = repo.get(due[0].id)
    assert (woken.status, woken.published_at, woken.next_attempt_at) == (S.QUEUED, None, None)
    assert woken.updated_at == NOW
    event = repo.events(due[0].id)[-1]
    assert (event.from_status, event.to_status, event.reason) == (
        S.WAITING,
        S.QUEUED,
        "its back-off is over",
    )
    assert repo.get(later.id) == later
    assert repo.get(paused.id) == paused


def test_who_wakes_and_who_resumes_do_not_wait_for_each_other(postgres_url: str) -> None:
    """Given jobs that are due in another order than that of their ids, in which all else goes."""
    database = Database(postgres_url)
    migrate.upgrade(database)
    repo = JobRepository(database)
    first, second = (
        new_job(status=S.WAITING, next_attempt_at=NOW - timedelta(seconds=number))
        for number in range(2)
    )
    repo.add([second, first])
    waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    with ThreadPoolExecutor(1) as pool:
        with database.write() as resuming:
            resume = update(jobs).values(status="queued")
            resuming.execute(resume.where(jobs.c.id == first.id))
            woken = pool.submit(repo.requeue_due, NOW)
            wait_until(lambda: woken.done() or resuming.execute(waiting).scalar())
            resuming.execute(resume.where(jobs.c.id == second.id, jobs.c.status == "waiting"))
        assert ids(woken.result(30)) == [second.id]
    assert repo.count_by_status() == {S.QUEUED: 2}
    database.close()


def test_the_longest_due_are_woken_first(repo: JobRepository) -> None:
    waiting = [
        new_job(status=S.WAITING, next_attempt_at=NOW - timedelta(seconds=number))
        for number in range(5)
    ]
    repo.add(waiting)
    assert set(ids(repo.requeue_due(NOW, limit=2))) == {waiting[4].id, waiting[3].id}


def test_running_jobs_of_which_nothing_was_heard(repo: JobRepository) -> None:
    quiet = new_job(status=S.VERIFYING)
    quieter = new_job(status=S.DOWNLOADING, updated_at=NOW - timedelta(seconds=1))
    repo.add([quiet, quieter, new_job(status=S.DOWNLOADING, updated_at=LATER), new_job()])
    assert [job.id for job in repo.running_not_updated_since(NOW)] == [quieter.id, quiet.id]
    assert [job.id for job in repo.running_not_updated_since(NOW, limit=1)] == [quieter.id]


@pytest.mark.parametrize("source", [S.DOWNLOADING, S.VERIFYING])
@pytest.mark.parametrize("to", [S.QUEUED, S.WAITING, S.PAUSED])
@pytest.mark.parametrize(
    ("control", "end"), [("cancel", S.CANCELLED), ("pause", S.PAUSED), (None, None)]
)
def test_a_pending_control_request_goes_before_requeueing(
    repo: JobRepository, source: S, to: S, control: str | None, end: S | None
) -> None:
    """Given a person's word that never reached the worker."""
    job = new_job(status=source, fence=1, worker="w", control=control)
    repo.add([job])
    moved = repo.transition(job, to, now=LATER, reason="why")
    assert moved is not None
    # A pause that nobody wants any more has been taken back.
    end = end or (S.QUEUED if to is S.PAUSED else to)
    assert (moved.status, moved.control) == (end, None)
    assert moved.finished_at == (LATER if end is S.CANCELLED else None)
    assert repo.events(job.id)[-1].to_status is end


# ── waiting for a place, and notes ──────────────────────────────────────────────────────────────


def test_who_waits_longest_for_a_place_gets_it(repo: JobRepository) -> None:
    busy = {"status": S.WAITING, "error_code": "host_busy", "host": "a:1", "next_attempt_at": LATER}
    waiting = [new_job(**busy) for _ in range(3)]
    others = [
        new_job(**(busy | {"host": "a"})),
        new_job(**(busy | {"error_code": "http_503"})),
        new_job(**(busy | {"status": S.PAUSED})),
    ]
    repo.add([*reversed(waiting), *others])
    oldest, second, third = (job.id for job in waiting)
    assert ids(repo.requeue_for_host("a:1", 2, NOW)) == [oldest, second]
    woken = repo.get(oldest)
    assert (woken.status, woken.next_attempt_at, woken.published_at) == (S.QUEUED, None, None)
    assert (repo.events(oldest)[-1].from_status, repo.events(oldest)[-1].reason) == (
        S.WAITING,
        "a:1 has a free slot",
    )
    assert ids(repo.requeue_for_host("a:1", 2, NOW)) == [third]
    assert repo.requeue_for_host("a:1", 2, NOW) == []
    assert [repo.get(job.id) for job in others] == others


def test_a_users_place_goes_to_that_users_jobs(repo: JobRepository) -> None:
    waiting = {"status": S.WAITING, "error_code": "user_busy"}
    mine, theirs = new_job(**waiting, user_id="me"), new_job(**waiting, user_id="you")
    repo.add([theirs, mine, new_job(status=S.WAITING, error_code="host_busy", user_id="me")])
    assert ids(repo.requeue_for_user("me", 5, NOW)) == [mine.id]
    assert repo.get(theirs.id) == theirs


def test_two_places_at_once_are_for_two_jobs(postgres_url: str) -> None:
    database = Database(postgres_url)
    migrate.upgrade(database)
    repo = JobRepository(database)
    waiting = [new_job(status=S.WAITING, error_code="host_busy", host="a") for _ in range(2)]
    repo.add(waiting)
    with database.write() as other:  # it is just about to wake the first one
        lock = select(jobs.c.id).where(jobs.c.id == waiting[0].id).with_for_update()
        assert other.execute(lock).scalar() == waiting[0].id
        assert ids(repo.requeue_for_host("a", 1, NOW)) == [waiting[1].id]
    database.close()


def test_a_place_wakes_no_more_than_one_whatever_the_planner_thinks(postgres_url: str) -> None:
    # Of a table that it knows nothing of yet, PostgreSQL joins in the way that looks again at each row.
    database = Database(postgres_url)
    migrate.upgrade(database)
    repo = JobRepository(database)
    waiting = [new_job(status=S.WAITING, error_code="host_busy", host="a") for _ in range(20)]
    repo.add(waiting)
    assert ids(repo.requeue_for_host("a", 1, NOW)) == [waiting[0].id]
    assert repo.count_by_status() == {S.QUEUED: 1, S.WAITING: 19}
    database.close()


def test_a_note_is_an_event_without_a_change(repo: JobRepository) -> None:
    repo.add([new_job(id="j")])
    job = repo.claim("j", worker="w", now=NOW)
    assert job is not None
    assert repo.note(job, "starts over: the file has changed", now=LATER) is True
    assert repo.get("j") == job
    event = repo.events("j")[-1]
    assert (event.from_status, event.to_status, event.at) == (S.DOWNLOADING, S.DOWNLOADING, LATER)
    assert (event.worker, event.fence, event.attempt) == ("w", 1, 1)
    assert event.reason == "starts over: the file has changed"
    assert repo.note(replace(job, fence=0), "of an older claim", now=LATER) is False
    assert repo.events("j")[-1] == event


def test_a_completed_job_keeps_no_secrets(repo: JobRepository) -> None:
    done = [new_job(status=S.VERIFYING, secrets="cookies token") for _ in range(2)]
    repo.add(done)
    for job, end, left in zip(done, (S.COMPLETED, S.FAILED), (None, "cookies token"), strict=True):
        ended = repo.transition(job, end, now=LATER)
        assert ended is not None
        assert ended.secrets == left


def test_a_note_stands_behind_the_change_that_it_had_to_wait_for(postgres_url: str) -> None:
    """Given a claim that commits while somebody is about to write a note: the note knows of it."""
    database = Database(postgres_url)
    migrate.upgrade(database)
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
