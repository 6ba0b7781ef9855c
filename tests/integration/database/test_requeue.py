"""Waiting jobs that are requeued: due, or when a host or a user has a free slot; on both databases."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import select, text, update

from database import Database, JobRepository
from database.models import jobs
from domain.job import JobStatus, QueuedJob
from tests.support.build import NOW, new_job
from tests.support.services.operations import requeue_for_slots
from tests.support.wait import wait_until

S = JobStatus
LATER = NOW + timedelta(seconds=5)


def ids(queued: Sequence[QueuedJob]) -> list[str]:
    """Their ids, in the same order."""
    return [job.id for job in queued]


def test_due_jobs_are_requeued_once(repo: JobRepository) -> None:
    due = [new_job(status=S.WAITING, next_attempt_at=NOW, published_at=NOW) for _ in range(3)]
    later = new_job(status=S.WAITING, next_attempt_at=LATER)
    paused = new_job(status=S.PAUSED, next_attempt_at=NOW)
    repo.add([*due, later, paused])
    assert set(ids(repo.requeue_due(NOW))) == {job.id for job in due}
    assert repo.requeue_due(NOW) == []
    requeued = repo.get(due[0].id)
    assert (requeued.status, requeued.published_at, requeued.next_attempt_at) == (
        S.QUEUED,
        None,
        None,
    )
    assert requeued.updated_at == NOW
    event = repo.events(due[0].id)[-1]
    assert (event.from_status, event.to_status, event.reason) == (
        S.WAITING,
        S.QUEUED,
        "its back-off is over",
    )
    assert repo.get(later.id) == later
    assert repo.get(paused.id) == paused


def test_requeue_and_resume_do_not_deadlock(migrated_postgres_url: str) -> None:
    """Given jobs that are due in another order than that of their ids, in which all else goes."""
    database = Database(migrated_postgres_url)
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
            requeued = pool.submit(repo.requeue_due, NOW)
            wait_until(lambda: requeued.done() or resuming.execute(waiting).scalar())
            resuming.execute(resume.where(jobs.c.id == second.id, jobs.c.status == "waiting"))
        assert ids(requeued.result(30)) == [second.id]
    assert repo.count_by_status() == {S.QUEUED: 2}
    database.close()


def test_the_longest_due_are_requeued_first(repo: JobRepository) -> None:
    waiting = [
        new_job(status=S.WAITING, next_attempt_at=NOW - timedelta(seconds=number))
        for number in range(5)
    ]
    repo.add(waiting)
    assert set(ids(repo.requeue_due(NOW, limit=2))) == {waiting[4].id, waiting[3].id}


def test_running_jobs_without_recent_updates_are_found(repo: JobRepository) -> None:
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
    """Given a control request that never reached the worker."""
    job = new_job(status=source, fence=1, worker="w", control=control)
    repo.add([job])
    moved = repo.transition(job, to, now=LATER, reason="why")
    assert moved is not None
    # Without a pending pause the job is requeued: the pause was withdrawn.
    end = end or (S.QUEUED if to is S.PAUSED else to)
    assert (moved.status, moved.control) == (end, None)
    assert moved.finished_at == (LATER if end is S.CANCELLED else None)
    assert repo.events(job.id)[-1].to_status is end


def test_the_job_that_waits_longest_for_a_host_is_requeued_first(repo: JobRepository) -> None:
    busy = {"status": S.WAITING, "error_code": "host_busy", "host": "a:1", "next_attempt_at": LATER}
    waiting = [new_job(**busy) for _ in range(3)]
    others = [
        new_job(**(busy | {"host": "a"})),
        new_job(**(busy | {"error_code": "http_503"})),
        new_job(**(busy | {"status": S.PAUSED})),
    ]
    repo.add([*reversed(waiting), *others])
    oldest, second, third = (job.id for job in waiting)
    assert ids(requeue_for_slots(repo, "a:1", None, 2, NOW)) == [oldest, second]
    requeued = repo.get(oldest)
    assert (requeued.status, requeued.next_attempt_at, requeued.published_at) == (
        S.QUEUED,
        None,
        None,
    )
    assert (repo.events(oldest)[-1].from_status, repo.events(oldest)[-1].reason) == (
        S.WAITING,
        "a:1 has a free slot",
    )
    assert ids(requeue_for_slots(repo, "a:1", None, 2, NOW)) == [third]
    assert requeue_for_slots(repo, "a:1", None, 2, NOW) == []
    assert [repo.get(job.id) for job in others] == others


def test_a_users_slot_goes_to_that_users_jobs(repo: JobRepository) -> None:
    waiting = {"status": S.WAITING, "error_code": "user_busy"}
    mine, theirs = new_job(**waiting, user_id="me"), new_job(**waiting, user_id="you")
    repo.add([theirs, mine, new_job(status=S.WAITING, error_code="host_busy", user_id="me")])
    assert ids(requeue_for_slots(repo, "elsewhere", "me", 5, NOW)) == [mine.id]
    assert repo.get(theirs.id) == theirs


def test_two_slots_at_once_are_for_two_jobs(migrated_postgres_url: str) -> None:
    database = Database(migrated_postgres_url)
    repo = JobRepository(database)
    waiting = [new_job(status=S.WAITING, error_code="host_busy", host="a") for _ in range(2)]
    repo.add(waiting)
    with database.write() as other:  # another process is about to requeue the first one
        lock = select(jobs.c.id).where(jobs.c.id == waiting[0].id).with_for_update()
        assert other.execute(lock).scalar() == waiting[0].id
        assert ids(requeue_for_slots(repo, "a", None, 1, NOW)) == [waiting[1].id]
    database.close()


def test_one_slot_requeues_one_job_whatever_the_query_plan(migrated_postgres_url: str) -> None:
    # Without statistics of a table PostgreSQL joins by a loop that evaluates the subquery for each row.
    database = Database(migrated_postgres_url)
    repo = JobRepository(database)
    waiting = [new_job(status=S.WAITING, error_code="host_busy", host="a") for _ in range(20)]
    repo.add(waiting)
    assert ids(requeue_for_slots(repo, "a", None, 1, NOW)) == [waiting[0].id]
    assert repo.count_by_status() == {S.QUEUED: 1, S.WAITING: 19}
    database.close()
