"""A group of operations has the results, and leaves the rows and histories, of one by one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, select

from database import Database, JobRepository
from database.changes import Change
from database.models import job_events, jobs
from database.operations import (
    Claim,
    ConsumeMessage,
    Note,
    Operation,
    RequeueForSlot,
    Transition,
)
from domain.ids import new_job_id
from domain.job import FINISHED, RUNNING, TRANSITIONS, Job, JobStatus, Priority
from tests.support.build import NOW, new_job
from tests.support.databases import emptied, shared_database

S = JobStatus
LATER = NOW + timedelta(seconds=5)
HOSTS = ("a.example", "b.example")
USERS = (None, "ann", "ben")
#: Of a job that no operation changes. Finished jobs with it cannot be retried.
HELD_KEY = "held"


class Case(NamedTuple):
    """The jobs before, and what is done with them."""

    jobs: list[Job]
    operations: list[Operation]


@st.composite
def stored_jobs(draw: st.DrawFn) -> Job:
    status = draw(st.sampled_from([*S, *RUNNING, S.QUEUED]))
    is_running = status in RUNNING
    keys = [None, HELD_KEY, "other"] if status in FINISHED else [None]
    times = st.sampled_from([None, NOW, LATER])
    return new_job(
        status=status,
        fence=draw(st.integers(0, 2)),
        attempts=draw(st.integers(0, 3)),
        worker=draw(st.sampled_from([None, "host:1"])),
        control=draw(st.sampled_from([None, "pause", "cancel"])) if is_running else None,
        priority=draw(st.sampled_from(Priority)),
        host=draw(st.sampled_from(HOSTS)),
        user_id=draw(st.sampled_from(USERS)),
        error_code=draw(st.sampled_from([None, "host_busy", "user_busy", "internal"])),
        reason=draw(st.sampled_from([None, "it is busy"])),
        dedup_key=draw(st.sampled_from(keys)),
        secret_url=draw(st.booleans()),
        secrets=draw(st.sampled_from([None, "cookies token"])),
        mirrors=draw(st.sampled_from([(), ("https://example.org/x",)])),
        next_attempt_at=draw(times),
        published_at=draw(times),
        started_at=draw(times),
        finished_at=NOW if status in FINISHED else None,
        bytes_downloaded=draw(st.integers(0, 9)),
        bytes_durable=draw(st.integers(0, 9)),
    )


def as_claimed(job: Job) -> Job:
    """Return a queued job as the claims below return it."""
    return replace(
        job,
        status=S.DOWNLOADING,
        fence=job.fence + 1,
        attempts=job.attempts + 1,
        worker="host:2",
        reason=None,
        error_code=None,
        next_attempt_at=None,
        started_at=job.started_at or NOW,
        updated_at=NOW,
    )


def as_given(job: Job) -> st.SearchStrategy[Job]:
    """Draw the job as a caller may have read it."""
    # Before a pause was requested, before progress was saved, before it was moved.
    earlier = replace(job, control=None, bytes_total=0, speed_mbps=5.0, priority=Priority.LOW)
    return st.sampled_from(
        [
            job,
            job,
            as_claimed(job) if job.status is S.QUEUED else job,
            replace(as_claimed(job), status=S.VERIFYING) if job.status is S.QUEUED else job,
            replace(job, fence=job.fence + 1),
            replace(job, status=S.VERIFYING),
            *([earlier] * 4 if job.status in RUNNING else []),
            replace(job, id=new_job_id()),
        ]
    )


def mostly(usual: Any, *others: Any) -> st.SearchStrategy[Any]:
    """Draw one of `others` now and then: each of them fails, and the group is done one by one."""
    return st.sampled_from([usual] * 30 + [*others])


@st.composite
def changes(draw: st.DrawFn, job: Job) -> Change:
    counts = {"bytes_downloaded": 7, "bytes_durable": 5, "bytes_total": 9, "speed_mbps": 0.0}
    ended = counts | {"path": "/srv/x", "sha256": "a" * 64, "attempts": 1, "worker": None}
    return Change(
        to=draw(st.sampled_from([*sorted(TRANSITIONS[job.status]) * 3, *S])),
        now=draw(st.sampled_from([NOW, LATER])),
        reason=draw(st.sampled_from([None, "the store refuses."])),
        changes=draw(mostly(draw(st.sampled_from([{}, counts, ended])), {"bytes_total": 2**70})),
        event_reason=draw(st.sampled_from([None, "the store refuses; 5 bytes are kept"])),
        may_repeat=draw(st.booleans()),
    )


@st.composite
def operations_on(draw: st.DrawFn, job: Job) -> Operation:
    kind = draw(st.sampled_from([Claim, Transition, Transition, Note, ConsumeMessage]))
    now = draw(st.sampled_from([NOW, LATER]))
    if kind is Claim:
        job_id = draw(st.sampled_from([job.id, job.id, new_job_id(), "\0", "\udc80"]))
        return Claim(job_id, "host:2", NOW, draw(st.sampled_from([None, *Priority])))
    if kind is Transition:
        given_job = draw(as_given(job))
        return Transition(given_job, draw(changes(given_job)))
    if kind is Note:
        return Note(draw(as_given(job)), draw(mostly("a note", "\udc80")), now)
    return ConsumeMessage(job.id, draw(st.sampled_from([None, NOW, LATER])))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    some = draw(st.lists(stored_jobs(), min_size=1, max_size=8))
    chosen = draw(st.lists(st.sampled_from(some), min_size=1, max_size=14))
    operations = [draw(operations_on(job)) for job in chosen]
    slots = st.builds(
        RequeueForSlot, st.sampled_from(HOSTS), st.sampled_from(USERS), st.just(LATER)
    )
    holder = new_job(dedup_key=HELD_KEY)
    return Case([*some, holder], [*operations, *draw(st.lists(slots, max_size=4))])


# ── the comparison ──────────────────────────────────────────────────────────────────────────────


def prepared(database: Database, some: list[Job]) -> JobRepository:
    """Store jobs in any state, each with an event."""
    emptied(database)
    rows = [{column.name: getattr(job, column.name) for column in _JOB_COLUMNS} for job in some]
    with database.write() as connection:
        connection.execute(insert(jobs), [row | {"flight": row["dedup_key"]} for row in rows])
        for job in some:
            event = {"job_id": job.id, "at": NOW, "to_status": "queued", "fence": 0, "attempt": 0}
            connection.execute(insert(job_events), event)
    return JobRepository(database)


_JOB_COLUMNS = [column for column in jobs.columns if hasattr(Job, column.name)]


def contents(database: Database) -> tuple[list[Any], list[Any]]:
    """Return all rows, and the histories without the ids of their events."""
    with database.read() as connection:
        rows = connection.execute(select(jobs).order_by(jobs.c.id)).all()
        events = connection.execute(
            select(job_events).order_by(job_events.c.job_id, job_events.c.id)
        )
        return [tuple(row) for row in rows], [tuple(event)[1:] for event in events]


def comparable(result: Any) -> Any:
    return (type(result), str(result)) if isinstance(result, Exception) else result


def check_equal(one: Database, other: Database, case: Case) -> None:
    alone = prepared(one, case.jobs)
    expected = [comparable(alone.perform([operation])[0]) for operation in case.operations]
    together = [
        comparable(result) for result in prepared(other, case.jobs).perform(case.operations)
    ]
    assert together == expected
    assert contents(other) == contents(one)
    # Both share the code that makes results: these are the rows that were written.
    last = dict(zip(map(target, case.operations), together, strict=True))
    requeued = {job.id for result in together if isinstance(result, list) for job in result}
    changed = {job.id: job for job in last.values() if isinstance(job, Job)}
    stored = JobRepository(other).get_many([*changed])
    assert [stored[one] for one in changed if one not in requeued] == [
        job for job in changed.values() if job.id not in requeued
    ]


def target(operation: Operation) -> str | None:
    match operation:
        case Claim() | ConsumeMessage():
            return operation.job_id
        case Transition() | Note():
            return operation.job.id
        case RequeueForSlot():
            return None


@contextmanager
def two_databases(
    request: pytest.FixtureRequest, folder: pytest.TempPathFactory
) -> Iterator[tuple[Database, Database]]:
    with ExitStack() as stack:
        yield (
            stack.enter_context(shared_database(request, folder)),
            stack.enter_context(shared_database(request, folder)),
        )


@pytest.fixture(scope="module", params=["sqlite"])
def sqlite_pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Database, Database]]:
    with two_databases(request, tmp_path_factory) as pair:
        yield pair


@pytest.fixture(scope="module", params=["postgresql"])
def postgres_pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Database, Database]]:
    with two_databases(request, tmp_path_factory) as pair:
        yield pair


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(case=cases())
def test_a_group_on_sqlite_is_as_one_by_one(
    sqlite_pair: tuple[Database, Database], case: Case
) -> None:
    check_equal(*sqlite_pair, case)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(case=cases())
def test_a_group_on_postgresql_is_as_one_by_one(
    postgres_pair: tuple[Database, Database], case: Case
) -> None:
    check_equal(*postgres_pair, case)
