"""A worker whose clock is an hour fast: its jobs do not wait for that hour."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from database import clock_skew
from database.clock_skew import correct_future_times
from domain.job import Job, JobStatus, Priority
from tasks.periodic import maintenance
from tasks.periodic.reconcile import reconcile
from tests.support.services import operations
from tests.support.services.system import System
from worker.runtime import Runtime

HOUR = timedelta(hours=1)
_numbers = itertools.count()

Leave = Callable[[Runtime, Job], None]


def submitted(system: System) -> Job:
    return system.submit(f"http://127.0.0.1:1/{next(_numbers)}")


def ahead(system: System, by: timedelta) -> Runtime:
    """The runtime as it is later, or with a clock that is fast."""
    return replace(system.runtime, now=lambda: system.runtime.now() + by)


def claim(runtime: Runtime, job: Job) -> Job:
    running = operations.claim(runtime.jobs, job.id, worker="fast", now=runtime.now())
    assert running is not None
    return running


def leave_running(runtime: Runtime, job: Job) -> None:
    """It is killed at once: the row's last heartbeat is an hour ahead."""
    claim(runtime, job)


def leave_waiting(runtime: Runtime, job: Job) -> None:
    runtime.jobs.transition(
        claim(runtime, job),
        JobStatus.WAITING,
        now=runtime.now(),
        changes={"next_attempt_at": runtime.now()},
    )


def leave_unpublished(runtime: Runtime, job: Job) -> None:
    runtime.jobs.transition(claim(runtime, job), JobStatus.QUEUED, now=runtime.now())


def leave_published(runtime: Runtime, job: Job) -> None:
    leave_unpublished(runtime, job)
    assert runtime.publisher.publish([job])


@pytest.mark.parametrize(
    "leave", [leave_running, leave_waiting, leave_unpublished, leave_published]
)
def test_a_job_of_a_fast_worker_is_published_again_in_its_usual_time(
    any_system: System, leave: Leave
) -> None:
    job = submitted(any_system)
    leave(ahead(any_system, HOUR), job)
    any_system.store.flush()  # whatever messages there were

    reconcile(any_system.runtime)

    # Later than any pause (an orphan's, a backoff, a lost message's); and once more, to publish.
    for seconds in (40, 50):
        reconcile(ahead(any_system, timedelta(seconds=seconds)))
        maintenance.requeue_due(ahead(any_system, timedelta(seconds=seconds)))
    broker = any_system.runtime.broker
    head = broker.head(Priority.NORMAL)
    assert job.id in broker.requeued() | set(head.job_ids if head else ())


def test_only_times_in_the_future_are_corrected(any_system: System) -> None:
    runtime = any_system.runtime
    job = submitted(any_system)
    before = any_system.job(job)
    assert correct_future_times(runtime.database, runtime.now(), 60) == 0
    assert any_system.job(job) == before

    now = runtime.now()
    running = claim(runtime, job)
    due: dict[str, datetime] = {"next_attempt_at": now + HOUR}
    runtime.jobs.transition(running, JobStatus.WAITING, now=now + HOUR, changes=due)

    assert correct_future_times(runtime.database, now, 60) == 1
    row = any_system.job(job)
    assert row.updated_at == now
    assert row.next_attempt_at == now + timedelta(seconds=60)
    assert row.published_at == before.published_at
    assert "corrected" in (runtime.jobs.events(job.id)[-1].reason or "")
    assert correct_future_times(runtime.database, now, 60) == 0


def test_many_are_corrected_and_what_has_ended_stays(
    any_system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock_skew, "BATCH", 2)
    runtime = ahead(any_system, HOUR)
    jobs = [submitted(any_system) for _ in range(5)]
    for job in jobs:
        leave_unpublished(runtime, job)
    ended = runtime.jobs.transition(any_system.job(jobs[0]), JobStatus.CANCELLED, now=runtime.now())
    assert correct_future_times(runtime.database, any_system.runtime.now(), 60) == 4
    assert any_system.job(jobs[0]) == ended
