"""Claims and transitions: one winner, a rising fence, and an event with every change."""

from __future__ import annotations

import multiprocessing
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from database import Database, JobRepository
from domain.errors import DuplicateJobError
from domain.job import FINISHED, RUNNING, TRANSITIONS, Job, JobStatus
from tests.support.build import NOW, new_job
from tests.support.services.operations import claim

S = JobStatus
LATER = NOW + timedelta(seconds=5)


def claimed(repo: JobRepository, **values: object) -> Job:
    job = new_job(**values)
    repo.add([job])
    found = claim(repo, job.id, worker="host:1", now=NOW)
    assert found is not None
    return found


# ── claims ──────────────────────────────────────────────────────────────────────────────────────


def test_a_claim_takes_a_queued_job(repo: JobRepository) -> None:
    job = new_job(reason="old", error_code="old", control="cancel", next_attempt_at=NOW)
    repo.add([job])
    taken = claim(repo, job.id, worker="host:1", now=LATER)
    assert taken == replace(
        job,
        status=S.DOWNLOADING,
        fence=1,
        attempts=1,
        worker="host:1",
        control=None,
        reason=None,
        error_code=None,
        next_attempt_at=None,
        started_at=LATER,
        updated_at=LATER,
    )
    assert repo.get(job.id) == taken
    assert claim(repo, job.id, worker="host:2", now=LATER) is None


@pytest.mark.parametrize("status", [status for status in S if status is not S.QUEUED])
def test_only_a_queued_job_can_be_claimed(repo: JobRepository, status: JobStatus) -> None:
    job = new_job(status=status)
    repo.add([job])
    assert claim(repo, job.id, worker="w", now=NOW) is None
    assert repo.get(job.id) == job
    assert len(repo.events(job.id)) == 1


def test_each_claim_has_a_higher_fence_and_the_first_start_stays(repo: JobRepository) -> None:
    job = claimed(repo)
    for fence in range(2, 6):
        queued = repo.transition(job, S.QUEUED, now=LATER)
        assert queued is not None
        again = claim(repo, job.id, worker=f"w{fence}", now=LATER)
        assert again is not None
        assert (again.fence, again.attempts, again.started_at) == (fence, fence, NOW)
        job = again


def test_one_of_many_threads_wins(repo: JobRepository) -> None:
    jobs = [new_job() for _ in range(20)]
    repo.add(jobs)
    won: list[str] = []
    barrier = threading.Barrier(8)

    def claim_all(name: str) -> None:
        barrier.wait()
        won.extend(job.id for job in jobs if claim(repo, job.id, worker=name, now=NOW))

    threads = [threading.Thread(target=claim_all, args=(f"t{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == sorted(job.id for job in jobs)
    assert {job.fence for job in repo.get_many(won).values()} == {1}
    assert all(len(repo.events(job_id)) == 2 for job_id in won)


def claim_in_process(url: str, job_ids: list[str], name: str) -> list[str]:
    database = Database(url)
    repo = JobRepository(database)
    won = [job_id for job_id in job_ids if claim(repo, job_id, worker=name, now=NOW)]
    database.close()
    return won


def test_one_of_many_processes_wins(repo: JobRepository, database: Database) -> None:
    url = database.engine.url.render_as_string(hide_password=False)
    jobs = [new_job() for _ in range(40)]
    job_ids = [job.id for job in jobs]
    repo.add(jobs)
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        arguments = [(url, job_ids, f"p{number}") for number in range(3)]
        won = pool.starmap(claim_in_process, arguments, chunksize=1)
        pool.close()
        pool.join()
    assert sorted(job_id for part in won for job_id in part) == sorted(job_ids)
    found = repo.get_many(job_ids)
    assert all(found[job_id].worker == f"p{n}" for n, part in enumerate(won) for job_id in part)


# ── transitions ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("source", "to"), [(source, to) for source in S for to in sorted(TRANSITIONS[source])]
)
def test_a_legal_change_is_written_with_its_event(
    repo: JobRepository, source: JobStatus, to: JobStatus
) -> None:
    # A running job is paused only while its pause is pending.
    control = "pause" if source in RUNNING and to is S.PAUSED else None
    job = new_job(
        status=source,
        fence=3,
        attempts=2,
        worker="w",
        published_at=NOW,
        finished_at=NOW,
        control=control,
    )
    repo.add([job])
    changed = repo.transition(job, to, now=LATER, reason="because")
    assert changed is not None
    assert repo.get(job.id) == changed
    assert (changed.status, changed.fence, changed.updated_at) == (to, 3, LATER)
    assert changed.reason == "because"
    if to in FINISHED:
        assert changed.finished_at == LATER
    if to is S.QUEUED:
        assert (changed.published_at, changed.finished_at) == (None, None)
    event = repo.events(job.id)[-1]
    assert (event.at, event.from_status, event.to_status) == (LATER, source, to)
    assert (event.worker, event.fence, event.attempt, event.reason) == ("w", 3, 2, "because")


@pytest.mark.parametrize("source", list(S))
def test_an_illegal_change_is_a_mistake_and_writes_nothing(
    repo: JobRepository, source: JobStatus
) -> None:
    job = new_job(status=source)
    repo.add([job])
    for to in set(S) - TRANSITIONS[source]:
        with pytest.raises(ValueError, match="not a transition"):
            repo.transition(job, to, now=LATER)
    assert repo.get(job.id) == job
    assert len(repo.events(job.id)) == 1


def test_a_change_needs_the_state_it_was_read_in(repo: JobRepository) -> None:
    job = claimed(repo)
    assert repo.transition(job, S.VERIFYING, now=LATER)
    assert repo.transition(job, S.FAILED, now=LATER) is None
    assert repo.get(job.id).status is S.VERIFYING
    assert len(repo.events(job.id)) == 3


def test_a_change_needs_the_fence_it_was_read_with(repo: JobRepository) -> None:
    job = claimed(repo)
    assert repo.transition(replace(job, fence=0), S.FAILED, now=LATER) is None
    assert repo.transition(replace(job, fence=2), S.FAILED, now=LATER) is None
    assert repo.get(job.id) == job


def test_a_change_takes_further_columns_along(repo: JobRepository) -> None:
    job = claimed(repo)
    changed = repo.transition(
        job, S.WAITING, now=LATER, changes={"next_attempt_at": LATER, "bytes_downloaded": 2**60}
    )
    assert changed is not None
    assert (changed.next_attempt_at, changed.bytes_downloaded) == (LATER, 2**60)


def test_one_of_two_changes_at_once_wins(repo: JobRepository) -> None:
    job = claimed(repo)
    barrier = threading.Barrier(6)
    won: list[Job] = []

    def change(to: JobStatus) -> None:
        barrier.wait()
        changed = repo.transition(job, to, now=LATER)
        if changed is not None:
            won.append(changed)

    targets = [S.FAILED, S.PAUSED, S.WAITING, S.QUEUED, S.VERIFYING, S.CANCELLED]
    threads = [threading.Thread(target=change, args=(to,)) for to in targets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one.status for one in won] == [repo.get(job.id).status]
    assert len(repo.events(job.id)) == 3


def test_the_history_shows_every_state_of_a_job(repo: JobRepository) -> None:
    job = claimed(repo)
    for to in (S.WAITING, S.QUEUED):
        changed = repo.transition(job, to, now=NOW, reason=to.value)
        assert changed is not None
        job = changed
    again = claim(repo, job.id, worker="host:2", now=LATER)
    assert again is not None
    events = [
        (event.from_status, event.to_status, event.fence, event.attempt, event.reason)
        for event in repo.events(job.id)
    ]
    assert events == [
        (None, S.QUEUED, 0, 0, None),
        (S.QUEUED, S.DOWNLOADING, 1, 1, None),
        (S.DOWNLOADING, S.WAITING, 1, 1, "waiting"),
        (S.WAITING, S.QUEUED, 1, 1, "queued"),
        (S.QUEUED, S.DOWNLOADING, 2, 2, None),
    ]


# ── what a person asks of a running job ─────────────────────────────────────────────────────────


@pytest.mark.parametrize("status", list(S))
def test_only_a_running_job_can_be_asked(repo: JobRepository, status: JobStatus) -> None:
    job = new_job(status=status)
    repo.add([job])
    assert bool(repo.request_control([job], "cancel")) is (status in RUNNING)
    assert repo.get(job.id).control == ("cancel" if status in RUNNING else None)
    assert [one.id for one in repo.pending_controls()] == ([job.id] if status in RUNNING else [])


def test_a_newer_claim_is_not_asked(repo: JobRepository) -> None:
    job = claimed(repo)
    assert not repo.request_control([replace(job, fence=0)], "cancel")
    assert repo.pending_controls() == []


def test_what_was_asked_stays_until_the_job_stops_running(repo: JobRepository) -> None:
    job = claimed(repo)
    assert repo.request_control([job], "cancel")
    verifying = repo.transition(job, S.VERIFYING, now=LATER)
    assert verifying is not None
    assert verifying.control == "cancel"
    assert [one.id for one in repo.pending_controls()] == [job.id]
    ended = repo.transition(verifying, S.CANCELLED, now=LATER)
    assert ended is not None
    assert ended.control is None
    assert repo.pending_controls() == []


# ── what a job asks for, before its first claim ─────────────────────────────────────────────────


@pytest.mark.parametrize("status", [S.QUEUED, S.PAUSED])
def test_a_job_is_revised_before_its_first_claim(repo: JobRepository, status: JobStatus) -> None:
    job = new_job(status=status, dedup_key="a" * 64)
    repo.add([job])
    changes: dict[str, Any] = {"name": "new.bin", "dedup_key": "b" * 64}
    revised = repo.revise(job, changes, now=LATER, reason="changed: out")
    assert revised == replace(job, **changes) == repo.get(job.id)
    assert repo.events(job.id)[-1].reason == "changed: out"
    # Its keys are those of the new request: another job may be for the old one, and none for the new.
    same, old = new_job(dedup_key="b" * 64), new_job(dedup_key="a" * 64)
    assert [one.id for one in repo.add([same, old])] == [job.id, old.id]
    with pytest.raises(DuplicateJobError, match=job.id):
        repo.revise(old, changes, now=LATER, reason="x")
    assert repo.revise(job, {"name": "late"}, now=LATER, reason="x") is None  # it was read before
    assert (repo.get(old.id), repo.get(job.id)) == (old, revised)


def test_a_job_with_a_claim_an_end_or_an_idempotency_key_is_not_revised(
    repo: JobRepository,
) -> None:
    running = claimed(repo)
    now: dict[str, Any] = {"now": NOW, "reason": "x"}
    paused = repo.transition(running, S.PAUSED, now=NOW)
    assert paused is not None
    ended, keyed = new_job(status=S.CANCELLED), new_job(dedup_key="c" * 64)
    repo.add([ended, keyed], {keyed.id: "k" * 64})
    for job in (running, paused, ended):
        assert repo.revise(job, {"name": "x"}, **now) is None
    assert repo.revise(keyed, {"dedup_key": "d" * 64}, **now) is None
    assert repo.get_many([paused.id, ended.id, keyed.id]) == {
        one.id: one for one in (paused, ended, keyed)
    }
    assert repo.revise(keyed, {"connections": 3}, **now) == replace(keyed, connections=3)


def test_a_worker_works_on_what_a_revision_has_left(repo: JobRepository) -> None:
    for _ in range(5):
        job = new_job()
        repo.add([job])
        start = threading.Barrier(2)

        def revise(job: Job = job, start: threading.Barrier = start) -> Job | None:
            start.wait(30)
            return repo.revise(job, {"name": "new"}, now=NOW, reason="x")

        with ThreadPoolExecutor() as threads:
            revised = threads.submit(revise)
            start.wait(30)
            taken = claim(repo, job.id, worker="w", now=NOW)
        assert taken is not None
        assert (taken.name == "new") is (revised.result() is not None)
        assert repo.get(job.id) == taken
