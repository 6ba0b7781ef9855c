"""Messages as SQL records them: published, consumed, lost and found."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select

import tasks
from cache.coordination.lock import Lock
from database.clock_skew import correct_future_times
from database.models import jobs as table
from domain.job import Job, JobStatus, Priority, QueuedJob
from domain.request import DownloadRequest
from tasks.periodic import maintenance
from tasks.periodic.reconcile import reconcile
from tests.support.build import unused_url
from tests.support.faults.aging import age_jobs
from tests.support.services.operations import claim
from tests.support.services.running import run_download
from tests.support.services.system import System, client_app
from tests.support.wait import wait_until
from worker.broker.client import Broker, QueuedMessage, read_message
from worker.broker.queues import REQUEUED_QUEUE, queue_of
from worker.broker.task_messages import SENT_AT
from worker.outcome import Outcome
from worker.runtime import Runtime

S = JobStatus
NORMAL = queue_of(Priority.NORMAL)
LOST = "its message was lost; it was published again"


def ago(system: System, **span: float) -> Runtime:
    """The runtime as it was so long ago."""
    by = timedelta(**span)
    return replace(system.runtime, now=lambda: system.runtime.now() - by)


def submit(runtime: Runtime, **fields: object) -> Job:
    return tasks.submit(
        DownloadRequest.model_validate({"url": unused_url(), **fields}), runtime=runtime
    )


def take(system: System, queue: str = NORMAL) -> QueuedMessage:
    """Take the next message out of a queue, as a worker does."""
    raw = system.store.client(db=1).rpop(queue)
    assert isinstance(raw, bytes)
    return read_message(raw)


def requeue(runtime: Runtime, job: Job) -> Job:
    """Claim a job and requeue it, without a message."""
    running = claim(runtime.jobs, job.id, worker="w", now=runtime.now())
    assert running is not None
    queued = runtime.jobs.transition(running, S.QUEUED, now=runtime.now())
    assert queued is not None
    return queued


def reasons(system: System, job: Job) -> list[str | None]:
    return [event.reason for event in system.runtime.jobs.events(job.id)]


def message_consumed_at(system: System, job: Job) -> datetime | None:
    with system.runtime.database.read() as connection:
        return connection.execute(
            select(table.c.message_consumed_at).where(table.c.id == job.id)
        ).scalar()


# ── consumed before it was noted ────────────────────────────────────────────────────────────────


class WatchedBroker(Broker):
    """A broker whose messages a worker consumes before `publish` returns."""

    def __init__(self, system: System, worker: Callable[[], None]) -> None:
        super().__init__(client_app(system.runtime.settings), timeout=5)
        self._worker = worker

    def publish(self, jobs: Sequence[Job | QueuedJob], sent_at: datetime, **options: bool) -> None:
        super().publish(jobs, sent_at, **options)
        self._worker()


def test_a_message_consumed_before_it_is_noted_is_published_again(
    any_system: System,
) -> None:
    runtime = any_system.runtime
    job = submit(runtime)
    tasks.pause(job.id, runtime=runtime)
    take(any_system)
    outcomes = []

    def work() -> None:
        message = take(any_system)
        outcomes.append(run_download(runtime, job.id, Priority.NORMAL, message.sent_at))

    broker = WatchedBroker(any_system, work)
    lock = runtime.cache.download_lock(job.id)
    assert lock.acquire()  # the attempt before the pause still holds it
    tasks.resume(job.id, runtime=replace(runtime, broker=broker))
    broker.close()
    lock.release()

    assert outcomes == [Outcome.ALREADY_RUNNING]
    assert any_system.job(job).published_at is None
    age_jobs(any_system)
    assert maintenance.requeue_due(runtime) == 1
    assert take(any_system).job_ids == (job.id,)
    assert any_system.job(job).published_at is not None
    assert reasons(any_system, job)[-1] == "it had no message; it was published"


def test_a_worker_records_which_message_it_has_consumed(system: System) -> None:
    job = submit(system.runtime)
    cache = system.runtime.cache
    # On a busy machine the worker takes longer to start than the usual TTL.
    assert Lock(cache.store, cache.keys.download_lock_key(job.id), ttl=120).acquire()
    system.start_worker(wait=False)
    wait_until(lambda: message_consumed_at(system, job), deadline=60)
    assert message_consumed_at(system, job) == job.published_at
    assert system.job(job).published_at is None


def test_consuming_an_old_message_keeps_the_note_of_the_new_one(any_system: System) -> None:
    runtime = any_system.runtime
    job = submit(ago(any_system, hours=1))
    tasks.pause(job.id, runtime=runtime)
    resumed = tasks.resume(job.id, runtime=runtime)
    assert runtime.cache.download_lock(job.id).acquire()
    old, new = take(any_system), take(any_system)
    assert run_download(runtime, job.id, None, old.sent_at) is Outcome.ALREADY_RUNNING
    assert any_system.job(job).published_at == resumed.published_at == new.sent_at
    assert run_download(runtime, job.id, None, new.sent_at) is Outcome.ALREADY_RUNNING
    assert any_system.job(job).published_at is None


def test_a_message_without_its_time_is_taken_for_the_newest(any_system: System) -> None:
    job = submit(any_system.runtime)
    assert any_system.runtime.cache.download_lock(job.id).acquire()
    assert run_download(any_system.runtime, job.id) is Outcome.ALREADY_RUNNING
    assert any_system.job(job).published_at is None


def test_what_is_said_to_be_published_is_what_sql_and_message_say(any_system: System) -> None:
    runtime = any_system.runtime
    job = submit(runtime)
    assert any_system.job(job).published_at == job.published_at == take(any_system).sent_at
    tasks.pause(job.id, runtime=runtime)
    resumed = tasks.resume(job.id, runtime=runtime)
    assert any_system.job(job) == resumed
    assert resumed.published_at == take(any_system).sent_at


# ── lost, and found ─────────────────────────────────────────────────────────────────────────────


def test_a_lost_requeued_message_is_found_behind_an_older_one(
    any_system: System,
) -> None:
    submit(ago(any_system, hours=2))
    then = ago(any_system, hours=1)
    requeued = requeue(then, submit(then))
    assert then.publisher.publish([requeued], requeued=True)
    assert reconcile(any_system.runtime).published == 0
    assert take(any_system, REQUEUED_QUEUE).job_ids == (requeued.id,)
    assert reconcile(any_system.runtime).published == 1
    assert any_system.runtime.broker.requeued() == {requeued.id}
    assert reasons(any_system, requeued)[-1] == LOST
    assert reconcile(any_system.runtime).published == 0


def test_a_resumed_job_waits_in_the_queue_of_its_priority(
    any_system: System,
) -> None:
    submit(ago(any_system, hours=2))
    then = ago(any_system, hours=1)
    job = requeue(then, submit(then))
    assert then.publisher.publish([job], requeued=True)
    tasks.pause(job.id, runtime=then)
    tasks.resume(job.id, runtime=then)
    take(any_system, REQUEUED_QUEUE)
    assert reconcile(any_system.runtime).published == 0


def test_a_resumed_job_at_the_head_makes_no_message_look_lost(any_system: System) -> None:
    waiting = [submit(ago(any_system, minutes=60 - number)) for number in range(6)]
    tasks.pause(waiting[0].id, runtime=any_system.runtime)
    tasks.resume(waiting[0].id, runtime=any_system.runtime)
    assert reconcile(any_system.runtime).published == 0
    assert any_system.backlog() == len(waiting) + 1
    assert all(LOST not in reasons(any_system, job) for job in waiting)


def moved(system: System, job: Job) -> None:
    tasks.move(job.id, Priority.LOW, runtime=system.runtime)


def cancelled(system: System, job: Job) -> None:
    tasks.cancel(job.id, runtime=system.runtime)


def gone(system: System, job: Job) -> None:
    with system.runtime.database.write() as connection:
        connection.execute(table.delete().where(table.c.id == job.id))


@pytest.mark.parametrize("leave", [moved, cancelled, gone])
def test_the_head_of_a_queue_is_used_whatever_its_job_became(
    any_system: System, leave: Callable[[System, Job], None]
) -> None:
    lost = submit(ago(any_system, hours=2))
    take(any_system)
    head = submit(ago(any_system, hours=1))
    behind = submit(ago(any_system, minutes=50))
    leave(any_system, head)
    assert reconcile(any_system.runtime).published == 1
    assert reasons(any_system, lost)[-1] == LOST
    assert reasons(any_system, behind)[-1] != LOST


def without_its_time(raw: bytes) -> bytes:
    message = json.loads(raw)
    del message["headers"][SENT_AT]
    return json.dumps(message).encode()


def with_another_time(raw: bytes) -> bytes:
    message = json.loads(raw)
    message["headers"][SENT_AT] = "2026-03-01T12:00:00"  # of no zone
    return json.dumps(message).encode()


def of_another_kind(_raw: bytes) -> bytes:
    return b'{"body": "", "headers": []}'


@pytest.mark.parametrize("change", [without_its_time, with_another_time, of_another_kind])
def test_a_head_without_its_time_proves_nothing(
    any_system: System, change: Callable[[bytes], bytes]
) -> None:
    lost = submit(ago(any_system, hours=2))
    take(any_system)
    submit(ago(any_system, hours=1))
    submit(ago(any_system, minutes=50))
    client = any_system.store.client(db=1)
    raw = client.lindex(NORMAL, -1)
    assert isinstance(raw, bytes)
    client.lset(NORMAL, -1, change(raw).decode())
    assert reconcile(any_system.runtime).published == 0
    take(any_system)
    published = reconcile(any_system.runtime).published
    assert published == 2  # the second one's message was the unreadable one
    assert reasons(any_system, lost)[-1] == LOST


def test_a_head_sent_by_a_fast_clock_makes_no_message_look_lost(any_system: System) -> None:
    """Given a time that was put right in the row; the message still has it."""
    fast, right = ago(any_system, hours=1), ago(any_system, hours=2)
    submit(fast)
    assert correct_future_times(any_system.runtime.database, right.now(), 60) == 1
    submit(ago(any_system, minutes=110))
    assert reconcile(any_system.runtime).published == 0


def test_of_what_was_sent_at_once_a_lost_one_is_found_when_the_others_are_taken(
    any_system: System,
) -> None:
    then = ago(any_system, hours=1)
    requests = [DownloadRequest(url=unused_url()) for _ in range(3)]
    lost, *others = tasks.submit_many(requests, runtime=then)
    assert take(any_system).job_ids == (lost.id,)
    assert reconcile(any_system.runtime).published == 0
    for job in others:
        tasks.cancel(job.id, runtime=any_system.runtime)
        take(any_system)
    assert reconcile(any_system.runtime).published == 1
    assert take(any_system).job_ids == (lost.id,)


def test_many_are_found_page_by_page(any_system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.periodic.missing_messages.BATCH", 2)
    then = ago(any_system, hours=1)
    requests = [DownloadRequest(url=unused_url()) for _ in range(5)]
    made = tasks.submit_many(requests, runtime=then)
    requeued = [requeue(then, job) for job in made[:3]]
    assert then.publisher.publish(
        [QueuedJob(job.id, job.priority, job.updated_at) for job in requeued], requeued=True
    )
    any_system.store.flush()
    assert reconcile(any_system.runtime).published == 5
    assert any_system.runtime.broker.backlogs() == {"requeued": 3, "high": 0, "normal": 2, "low": 0}
    assert reconcile(any_system.runtime).published == 0
