"""Operations in groups: each has the result and the rows that it has alone, in one transaction."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event

from database import Database, JobRepository
from database.changes import Change
from database.operations import (
    Claim,
    ConsumeMessage,
    Note,
    Operation,
    RequeueForSlot,
    Transition,
)
from domain.errors import DatabaseUnavailableError, DuplicateJobError
from domain.job import Job, JobStatus, Priority
from tests.support.build import NOW, new_job
from tests.support.plans import recorded

S = JobStatus
LATER = NOW + timedelta(seconds=5)


@contextmanager
def commits_of(database: Database) -> Iterator[list[object]]:
    """Collect the commits meanwhile."""
    seen: list[object] = []
    note = seen.append
    event.listen(database.engine, "commit", note)
    try:
        yield seen
    finally:
        event.remove(database.engine, "commit", note)


def added(repo: JobRepository, **values: Any) -> Job:
    job = new_job(**values)
    repo.add([job])
    return job


def running(repo: JobRepository, **values: Any) -> Job:
    return added(repo, status=S.DOWNLOADING, fence=3, attempts=2, worker="host:1", **values)


def test_a_group_is_one_transaction(repo: JobRepository, database: Database) -> None:
    queued, job, busy = added(repo), running(repo), added(repo)
    waiting = added(repo, status=S.WAITING, error_code="host_busy", host="a.example")
    with commits_of(database) as commits:
        claimed, changed, noted, consumed, requeued = repo.perform(
            [
                Claim(queued.id, "w", LATER),
                Transition(job, Change(S.VERIFYING, LATER)),
                Note(busy, "something happened", LATER),
                ConsumeMessage(busy.id, LATER),
                RequeueForSlot("a.example", "ann", LATER),
            ]
        )
    assert len(commits) == 1
    assert (claimed.status, claimed.fence, changed.status) == (S.DOWNLOADING, 1, S.VERIFYING)
    assert (noted, consumed, [one.id for one in requeued]) == (True, None, [waiting.id])
    assert repo.get(queued.id) == claimed
    assert repo.get(job.id) == changed
    assert repo.get(waiting.id).status is S.QUEUED
    assert [repo.events(one.id)[-1].reason for one in (busy, waiting)] == [
        "something happened",
        "a.example has a free slot",
    ]


def test_no_operation_is_no_transaction(repo: JobRepository, database: Database) -> None:
    with commits_of(database) as commits:
        assert repo.perform([]) == []
    assert commits == []


def test_one_refused_by_its_fence_leaves_the_others(repo: JobRepository) -> None:
    some = [running(repo) for _ in range(5)]
    stale = replace(some[2], fence=2)
    given = [*some[:2], stale, *some[3:]]
    results = repo.perform([Transition(job, Change(S.VERIFYING, LATER)) for job in given])
    assert [result is not None for result in results] == [True, True, False, True, True]
    assert repo.get(stale.id) == some[2]


#: What makes one operation fail, and its exception.
FAILURES: dict[str, tuple[Callable[[JobRepository], Operation], type[Exception]]] = {
    "an illegal change": (
        lambda repo: Transition(added(repo, status=S.COMPLETED), Change(S.QUEUED, NOW)),
        ValueError,
    ),
    "a claim at a time without zone": (
        lambda repo: Claim(added(repo).id, "w", NOW.replace(tzinfo=None)),
        ValueError,
    ),
    "a note at a time without zone": (
        lambda repo: Note(running(repo), "x", NOW.replace(tzinfo=None)),
        ValueError,
    ),
    "a number beyond 64 bits": (
        lambda repo: Transition(
            running(repo), Change(S.FAILED, LATER, changes={"bytes_total": 2**70})
        ),
        Exception,
    ),
    "a text that is no Unicode": (lambda repo: Note(running(repo), "\udc80", LATER), UnicodeError),
    "a value that no column holds": (
        lambda repo: Transition(running(repo), Change(S.FAILED, LATER, changes={"path": object()})),
        Exception,
    ),
    "a column that does not exist": (
        lambda repo: Transition(running(repo), Change(S.FAILED, LATER, changes={"colour": "red"})),
        KeyError,
    ),
}


@pytest.mark.parametrize("why", FAILURES)
def test_one_that_fails_leaves_the_others(repo: JobRepository, why: str) -> None:
    fail, kind = FAILURES[why]
    bad, queued, job = fail(repo), added(repo), running(repo)
    before = repo.find()
    results = repo.perform(
        [Claim(queued.id, "w", LATER), bad, Transition(job, Change(S.VERIFYING, LATER))]
    )
    assert isinstance(results[1], kind)
    changed = {one.id: one for one in (results[0], results[2])}
    assert repo.find() == [changed.get(one.id, one) for one in before]
    assert [len(repo.events(one.id)) for one in (queued, job)] == [2, 2]


def test_a_dedup_key_that_another_job_holds_fails_one_alone(repo: JobRepository) -> None:
    ended = added(repo, status=S.FAILED, dedup_key="k", finished_at=NOW)
    holder, other = added(repo, dedup_key="k"), running(repo)
    refused, changed = repo.perform(
        [
            Transition(ended, Change(S.QUEUED, LATER)),
            Transition(other, Change(S.VERIFYING, LATER)),
        ]
    )
    assert isinstance(refused, DuplicateJobError)
    assert refused.existing_id == holder.id
    assert repo.get(ended.id) == ended
    assert repo.get(other.id) == changed


def test_operations_on_one_job_are_done_in_order(repo: JobRepository) -> None:
    job = added(repo)
    claimed = replace(job, status=S.DOWNLOADING, fence=1)
    first, note, verifying, again, late = repo.perform(
        [
            Claim(job.id, "w", NOW),
            Note(claimed, "first", NOW),
            Transition(claimed, Change(S.VERIFYING, LATER)),
            Claim(job.id, "other", LATER),
            Note(job, "of an old claim", LATER),
        ]
    )
    assert (first.status, note, verifying.status, again, late) == (
        S.DOWNLOADING,
        True,
        S.VERIFYING,
        None,
        False,
    )
    assert [(one.to_status, one.reason) for one in repo.events(job.id)[1:]] == [
        (S.DOWNLOADING, None),
        (S.DOWNLOADING, "first"),
        (S.VERIFYING, None),
    ]


def test_two_free_slots_are_for_two_jobs(repo: JobRepository) -> None:
    busy = [
        added(repo, status=S.WAITING, error_code=code, host="a.example", user_id="ann")
        for code in ("host_busy", "user_busy", "host_busy", "user_busy", "host_busy")
    ]
    results = repo.perform([RequeueForSlot("a.example", "ann", LATER)] * 2)
    assert [[one.id for one in result] for result in results] == [
        [busy[0].id, busy[1].id],
        [busy[2].id, busy[3].id],
    ]
    assert repo.get(busy[4].id).status is S.WAITING


def test_slots_of_many_hosts_and_users_are_given_in_one_statement(
    repo: JobRepository, database: Database
) -> None:
    """By priority, then by age; three hosts with two slots each, and two users."""
    names = [f"{name}.example" for name in "abc"]
    priorities = [Priority.LOW, Priority.NORMAL, Priority.HIGH, Priority.NORMAL]
    at_hosts = {
        host: [
            added(repo, status=S.WAITING, error_code="host_busy", host=host, priority=priority)
            for priority in priorities
        ]
        for host in names
    }
    of_users = {
        user: added(repo, status=S.WAITING, error_code="user_busy", host=names[0], user_id=user)
        for user in ("ann", "ben")
    }
    slots = [RequeueForSlot(host, "ann", LATER) for host in names * 2]
    with recorded(database) as recording:
        results = repo.perform([*slots, RequeueForSlot("none.example", "ben", LATER)])
    of_jobs = [one for one in recording.statements if not one.startswith("INSERT")]
    assert sum("EXISTS" not in one for one in of_jobs) == 2, of_jobs
    firsts = [[at_hosts[host][2].id, at_hosts[host][1].id] for host in names]
    assert [[job.id for job in result] for result in results] == [
        [firsts[0][0], of_users["ann"].id],
        [firsts[1][0]],
        [firsts[2][0]],
        [firsts[0][1]],
        [firsts[1][1]],
        [firsts[2][1]],
        [of_users["ben"].id],
    ]
    assert repo.count_by_status() == {S.WAITING: 6, S.QUEUED: 8}


def test_a_lost_connection_raises_for_all_and_writes_nothing(
    repo: JobRepository, database: Database
) -> None:
    job, queued = running(repo), added(repo)
    cut: list[object] = []

    def lose(connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("INSERT INTO job_events"):
            cut.append(statement)
            connection.invalidate()
            raise OSError("the connection is gone")

    event.listen(database.engine, "before_cursor_execute", lose)
    try:
        with pytest.raises(DatabaseUnavailableError):
            repo.perform(
                [Claim(queued.id, "w", LATER), Transition(job, Change(S.VERIFYING, LATER))]
            )
    finally:
        event.remove(database.engine, "before_cursor_execute", lose)
    assert cut
    assert [repo.get(queued.id), repo.get(job.id)] == [queued, job]
    assert [len(repo.events(one.id)) for one in (queued, job)] == [1, 1]


def test_groups_of_the_same_jobs_claim_each_once(repo: JobRepository) -> None:
    """Two threads, each with the jobs in an order of its own, and notes on all of them in between."""
    every = [new_job() for _ in range(120)]
    repo.add(every)
    barrier = threading.Barrier(2)
    won: dict[str, list[Job]] = {"one": [], "other": []}
    failed: list[object] = []

    def work(name: str) -> None:
        order = random.Random(name)
        for start in range(0, len(every), 12):
            some = every[start : start + 12]
            order.shuffle(some)
            operations: list[Operation] = [Claim(job.id, name, LATER) for job in some]
            operations += [Note(job, "seen by a reader", LATER) for job in some]
            order.shuffle(operations)
            barrier.wait(30)
            results = repo.perform(operations)
            failed.extend(one for one in results if isinstance(one, Exception))
            claimed = [one for one in results if isinstance(one, Job)]
            verified = repo.perform(
                [Transition(job, Change(S.VERIFYING, LATER)) for job in claimed]
            )
            won[name] += [job for job in verified if job is not None]

    threads = [threading.Thread(target=work, args=(name,)) for name in won]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failed == []
    assert sorted(job.id for jobs in won.values() for job in jobs) == sorted(
        job.id for job in every
    )
    stored = repo.get_many([job.id for job in every])
    assert all(stored[job.id] == job and job.worker == name for name in won for job in won[name])
    for job in every:
        states = [one.to_status for one in repo.events(job.id) if one.reason is None]
        assert states == [S.QUEUED, S.DOWNLOADING, S.VERIFYING]


def test_free_slots_that_no_job_waits_for_need_no_lock_for_writing(
    repo: JobRepository, database: Database
) -> None:
    added(repo, status=S.WAITING, error_code="internal", host="a.example", user_id="ann")
    with commits_of(database) as commits:
        assert repo.perform([RequeueForSlot("a.example", "ann", LATER)] * 3) == [[], [], []]
    assert commits == []


def test_a_change_writes_only_what_differs(repo: JobRepository, database: Database) -> None:
    """An index is written when one of its columns is set, even to the value that it has."""
    job = running(repo, started_at=NOW)
    updates: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("UPDATE"):
            updates.append(statement.partition(" WHERE ")[0].partition(" FROM ")[0])

    event.listen(database.engine, "before_cursor_execute", note)
    try:
        verifying = repo.transition(job, S.VERIFYING, now=LATER)
    finally:
        event.remove(database.engine, "before_cursor_execute", note)
    assert verifying is not None
    (statement,) = updates
    assert [part.partition("=")[0] for part in statement.split("SET ")[1].split(", ")] == [
        "status",
        "updated_at",
    ]
