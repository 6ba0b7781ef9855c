"""The jobs of a message: run in slots, or put back so that another worker can run them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from domain.errors import DatabaseUnavailableError, StoreRefusesError
from domain.job import JobStatus, Priority, SubmittedJob
from tests.support.origins.origin import Origin
from tests.support.services.system import System
from tests.support.wait import wait_until
from worker.broker.queues import queue_of
from worker.job_pool import MOST_ENDING, JobMessage, JobPool
from worker.outcome import JobEnd, Outcome
from worker.storage.part_file import PartFile

NORMAL = Priority.NORMAL
QUEUE = queue_of(NORMAL)


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    gate = threading.Event()
    yield gate
    gate.set()


@pytest.fixture
def publishing(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Until it is set, no file is published."""
    may_publish, publish = threading.Event(), PartFile.publish

    def wait_and_publish(self: PartFile, name: str, **options: Any) -> Path:
        assert may_publish.wait(30)
        return publish(self, name, **options)

    monkeypatch.setattr(PartFile, "publish", wait_and_publish)
    yield may_publish
    may_publish.set()


def consumed(jobs: Sequence[SubmittedJob]) -> JobMessage:
    return JobMessage(tuple(job.id for job in jobs), NORMAL, jobs[-1].published_at, QUEUE)


def submit(system: System, origin: Origin, count: int, gate: threading.Event) -> JobMessage:
    """Submit jobs whose origin waits for the gate, and take their messages from the queue."""
    files = [origin.serve(f"/{number}", size=1000, gate=gate) for number in range(count)]
    jobs = [system.submit(file.url) for file in files]
    with system.runtime.broker._client() as client:
        client.delete(QUEUE)
    return consumed(jobs)


class Ends:
    """What a pool says of the ends of a message."""

    def __init__(self) -> None:
        self.calls: list[list[JobEnd]] = []

    @property
    def outcomes(self) -> list[Outcome]:
        return [end.outcome for ends in self.calls for end in ends]


@contextmanager
def started(pool: JobPool, message: JobMessage, gate: threading.Event) -> Iterator[Ends]:
    """Start the jobs; at the end of the block open the gate and wait for their ends."""
    ends = Ends()
    pool.start(message, ends.calls.append)
    try:
        yield ends
    finally:
        gate.set()
        wait_until(lambda: not pool.running, deadline=30, what="all jobs have ended")


def test_all_jobs_of_a_message_end_once(
    any_system: System, origin: Origin, gate: threading.Event
) -> None:
    message = submit(any_system, origin, 6, gate)
    pool = JobPool(any_system.runtime, 64)
    with started(pool, message, gate) as ends:
        wait_until(lambda: len(origin.requests) == 6, what="all of them run at once")
        assert ends.calls == []
        assert pool.running == 6
    (found,) = ends.calls
    assert sorted(end.job_id for end in found) == sorted(message.job_ids)
    assert ends.outcomes == [Outcome.COMPLETED] * 6
    assert pool.running == 0


def test_no_more_jobs_run_than_there_are_slots(
    system: System, origin: Origin, gate: threading.Event
) -> None:
    message = submit(system, origin, 3, gate)
    pool = JobPool(system.runtime, 2)
    with started(pool, message, gate):
        wait_until(lambda: len(origin.requests) == 2)
        assert not pool.has_room()
    assert pool.has_room()


def test_a_job_without_a_slot_is_put_back_as_the_next_message(
    system: System, origin: Origin, gate: threading.Event
) -> None:
    message = submit(system, origin, 5, gate)
    pool = JobPool(system.runtime, 2)
    with started(pool, message, gate) as ends:
        head = wait_until(lambda: system.runtime.broker.head(NORMAL))
        wait_until(lambda: pool.running == 2, what="the others are put back")
        assert head is not None
        assert head.sent_at == message.sent_at
    assert sorted(ends.outcomes) == [Outcome.COMPLETED] * 2 + [Outcome.PUT_BACK] * 3
    put_back = [end.job_id for end in ends.calls[0] if end.outcome is Outcome.PUT_BACK]
    assert sorted(put_back) == sorted(message.job_ids[2:])
    assert {system.runtime.jobs.get(one).status for one in put_back} == {JobStatus.QUEUED}


def test_a_job_that_gets_a_slot_soon_is_not_put_back(system: System, origin: Origin) -> None:
    gate = threading.Event()
    gate.set()
    message = submit(system, origin, 4, gate)
    pool = JobPool(system.runtime, 3, max_wait=60)
    with started(pool, message, gate) as ends:
        pass
    assert ends.outcomes == [Outcome.COMPLETED] * 4


def test_room_is_announced(system: System, origin: Origin, gate: threading.Event) -> None:
    message = submit(system, origin, 1, gate)
    pool = JobPool(system.runtime, 1)
    has_room = threading.Event()
    pool.on_room(lambda: has_room.set() if pool.has_room() else None)
    with started(pool, message, gate):
        assert not pool.has_room()
        assert not has_room.is_set()
    assert has_room.wait(10)


def test_room_is_announced_only_where_there_is_some(
    system: System, origin: Origin, gate: threading.Event
) -> None:
    message = submit(system, origin, 4, gate)
    pool = JobPool(system.runtime, 1, max_wait=60)
    looks: list[bool] = []
    pool.on_room(lambda: looks.append(pool.has_room()))
    with started(pool, message, gate) as ends:
        pass
    assert ends.outcomes == [Outcome.COMPLETED] * 4
    assert looks
    assert all(looks)


def test_a_pool_may_grow_while_jobs_run(
    system: System, origin: Origin, gate: threading.Event
) -> None:
    message = submit(system, origin, 2, gate)
    pool = JobPool(system.runtime, 1)
    with started(pool, message, gate) as ends:
        pool.concurrency = 2
        wait_until(lambda: len(origin.requests) == 2)
    assert ends.outcomes == [Outcome.COMPLETED] * 2


def test_jobs_in_hand_are_put_back_by_a_drain(
    system: System, origin: Origin, gate: threading.Event
) -> None:
    message = submit(system, origin, 3, gate)
    pool = JobPool(system.runtime, 1)
    ends = Ends()
    system.runtime.drain.start()
    pool.start(message, ends.calls.append)
    wait_until(lambda: not pool.running, deadline=30, what="all jobs have ended")
    assert ends.outcomes == [Outcome.PUT_BACK] * 3
    assert origin.requests == []
    assert not pool.has_room()


def test_no_job_starts_during_a_pause_after_a_refusal(
    system: System, origin: Origin, gate: threading.Event
) -> None:
    gate.set()
    message = submit(system, origin, 1, gate)
    pool = JobPool(system.runtime, 2)
    system.runtime.claim_pause.refused()
    assert not pool.has_room()
    with started(pool, message, gate) as ends:
        pass
    assert ends.outcomes == [Outcome.COMPLETED]
    assert pool.has_room()


def test_fewer_jobs_run_while_the_process_lacks_resources(
    system: System, origin: Origin, gate: threading.Event
) -> None:
    message = submit(system, origin, 4, gate)
    limit = system.runtime.concurrency
    pool = JobPool(system.runtime, 4)
    assert all(limit.try_acquire() for _ in range(2))  # what ran at the shortage
    assert limit.reduce()
    limit.release()
    limit.release()
    assert limit.bound == 1
    with started(pool, message, gate) as ends:
        wait_until(lambda: len(origin.requests) == 1)
        wait_until(lambda: pool.running == 1, what="the others are put back")
    assert sorted(ends.outcomes) == [Outcome.COMPLETED] + [Outcome.PUT_BACK] * 3


def test_jobs_that_end_count_where_the_process_lacks_resources(
    system: System, origin: Origin, gate: threading.Event, publishing: threading.Event
) -> None:
    """Else another message would be consumed, and its jobs could not start."""
    gate.set()
    message = submit(system, origin, 2, gate)
    limit = system.runtime.concurrency
    pool = JobPool(system.runtime, 4)
    with started(pool, message, gate):
        wait_until(lambda: pool._ending == 2, what="both are published")
        assert pool.has_room()
        assert limit.reduce()
        assert limit.bound == 1
        assert not pool.has_room()
        publishing.set()
    assert pool.has_room()


def test_jobs_that_are_cancelled_with_their_loop_end(
    system: System, origin: Origin, gate: threading.Event
) -> None:
    message = submit(system, origin, 2, gate)
    pool = JobPool(system.runtime, 2)
    with started(pool, message, gate) as ends:
        wait_until(lambda: len(origin.requests) == 2)
        system.runtime.event_loop.close()
    assert ends.outcomes == [Outcome.UNSAVED] * 2
    assert system.runtime.concurrency._running == 0


@pytest.mark.parametrize(
    "error",
    [StoreRefusesError("READONLY You can't write", "Make it writable."), RuntimeError("a fault")],
    ids=["refused", "unexpected"],
)
def test_jobs_that_cannot_be_put_back_get_another_message(
    system: System,
    origin: Origin,
    gate: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    """By beat, which publishes what SQL has without one."""
    message = submit(system, origin, 2, gate)
    pool = JobPool(system.runtime, 1)

    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(system.runtime.broker, "put_back", refuse)
    with started(pool, message, gate) as ends:
        wait_until(lambda: pool.running == 1)
    assert sorted(ends.outcomes) == [Outcome.COMPLETED, Outcome.PUT_BACK]
    (left,) = (end.job_id for end in ends.calls[0] if end.outcome is Outcome.PUT_BACK)
    assert system.runtime.jobs.get(left).published_at is None


def test_an_unexpected_error_ends_its_job_alone(
    system: System, origin: Origin, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate.set()
    message = submit(system, origin, 3, gate)
    pool = JobPool(system.runtime, 3)
    broken = message.job_ids[1]
    find_lock = system.runtime.cache.download_lock

    def download_lock(job_id: str) -> object:
        if job_id == broken:
            raise RuntimeError("a fault of this program")
        return find_lock(job_id)

    monkeypatch.setattr(system.runtime.cache, "download_lock", download_lock)
    with started(pool, message, gate) as ends:
        pass
    outcomes = {end.job_id: end.outcome for end in ends.calls[0]}
    assert outcomes.pop(broken) is Outcome.UNSAVED
    assert set(outcomes.values()) == {Outcome.COMPLETED}


def test_a_job_that_is_being_published_needs_no_slot(
    system: System, origin: Origin, gate: threading.Event, publishing: threading.Event
) -> None:
    """Neither here nor at its host: the origin has sent all bytes."""
    gate.set()
    message = submit(system, origin, 2, gate)
    pool = JobPool(system.runtime, 1, max_wait=60)
    with started(pool, message, gate) as ends:
        wait_until(lambda: len(origin.requests) == 2, what="the second job runs")
        wait_until(pool.has_room)
        assert ends.calls == []
        wait_until(lambda: system.runtime.cache.limits.slots("connections:127.0.0.1") == {})
        publishing.set()
    assert ends.outcomes == [Outcome.COMPLETED] * 2


def test_a_database_without_answer_keeps_further_messages_in_their_queue(
    system: System, origin: Origin, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate.set()
    message = submit(system, origin, 3, gate)

    def fail(*_: object) -> None:
        raise DatabaseUnavailableError("The database does not answer.")

    monkeypatch.setattr(system.runtime.sql, "_run", fail)
    pool = JobPool(system.runtime, 8)
    with started(pool, message, gate) as ends:
        pass
    assert ends.outcomes == [Outcome.NOT_STARTED] * 3
    assert not pool.has_room()


def test_files_that_hang_while_they_are_published_leave_room_for_others(
    system: System, origin: Origin, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate.set()
    message = submit(system, origin, MOST_ENDING + 8, gate)
    healthy = system.submit(origin.serve("/healthy", size=1000).url, directory="healthy")
    may_publish = threading.Event()
    publish = PartFile.publish

    def hang(self: PartFile, name: str, **options: Any) -> Path:
        assert self.path.parent.name == "healthy" or may_publish.wait(60)
        return publish(self, name, **options)

    monkeypatch.setattr(PartFile, "publish", hang)
    pool = JobPool(system.runtime, 64)
    ends = Ends()
    with started(pool, message, gate):
        wait_until(lambda: len(origin.requests) == MOST_ENDING + 8)
        pool.start(consumed([healthy]), ends.calls.append)
        wait_until(lambda: ends.outcomes == [Outcome.COMPLETED])
        may_publish.set()
