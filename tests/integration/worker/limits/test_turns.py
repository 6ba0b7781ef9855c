"""Jobs of two processes that wait for slots of one host: in turn, by priority and then by age."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

import tasks
from cache.coordination import transfer_limits
from domain.job import Job, JobStatus, Priority
from tests.support.origins.origin import Origin
from tests.support.services.running import SLOTS
from tests.support.services.system import System, client_runtime
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until
from worker.broker.queues import REQUEUED_QUEUE
from worker.job_pool import JobMessage, JobPool
from worker.outcome import JobEnd, Outcome

S = JobStatus
LONG = 600.0
Start = Callable[..., list[JobEnd]]


@pytest.fixture
def system(tmp_path: Path, store: StoreServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[System]:
    """A host has one slot; no place in the line lapses, and none is passed over."""
    monkeypatch.setattr(transfer_limits, "_PLACE", LONG)
    monkeypatch.setattr(transfer_limits, "_PATIENCE", LONG)
    with System(tmp_path, store, settings={"SEEN_HOST_DOWNLOADS": "1"}) as system:
        yield system


@pytest.fixture
def starts(system: System) -> Iterator[list[Start]]:
    """Start jobs in one of two processes, where they wait for slots; the list gets their ends."""
    with ExitStack() as stack:
        other = client_runtime(system.variables)
        stack.callback(other.close)
        yield [
            stack.enter_context(_starting(JobPool(one, SLOTS))) for one in (system.runtime, other)
        ]


@contextmanager
def _starting(pool: JobPool) -> Iterator[Start]:
    pool._runtime.slot_queue._max_wait = LONG
    ended: list[tuple[int, list[JobEnd], threading.Event]] = []

    def start(*jobs: Job) -> list[JobEnd]:
        ends, done = list[JobEnd](), threading.Event()
        ended.append((len(jobs), ends, done))

        def end(found: list[JobEnd]) -> None:
            ends.extend(found)
            done.set()

        pool.start(JobMessage(tuple(job.id for job in jobs)), end)
        return ends

    yield start
    for count, ends, done in ended:
        assert done.wait(60)
        assert len(ends) == count


def places(system: System) -> int:
    """How many jobs are in the line of the host."""
    with system.store.client() as client:
        (key,) = client.keys("seen:slots:downloads:*")
        return sum(value.startswith(b"wait") for value in client.hvals(key))


def take_the_slot(system: System, origin: Origin, start: Start) -> threading.Event:
    """Let a job have the slot until the event is set."""
    gate = threading.Event()
    start(system.submit(origin.serve("/first", size=10, gate=gate).url))
    wait_until(lambda: origin.requests, what="the slot is taken")
    return gate


def test_slots_go_by_priority_and_then_by_age_across_processes(
    system: System, origin: Origin, starts: list[Start]
) -> None:
    gate = take_the_slot(system, origin, starts[0])
    kinds = ["normal", "low", "high", "normal", "low", "high"] * 2
    jobs = [
        system.submit(origin.serve(f"/{kind}-{number:02}", size=10).url, priority=kind)
        for number, kind in enumerate(kinds)
    ]
    starts[0](*jobs[6:3:-1], jobs[11])
    starts[1](*jobs[7:11], *jobs[:4])
    wait_until(lambda: places(system) == len(jobs), what="all are in the line")
    gate.set()
    for job in jobs:
        system.wait_for(job, S.COMPLETED, deadline=60)
    order = [request.path for request in origin.requests[1:]]
    ranks = {priority.value: rank for rank, priority in enumerate(Priority)}
    assert order == sorted(order, key=lambda path: (ranks[path[1:].split("-")[0]], path[-2:]))


def test_a_job_that_waits_in_sql_is_called_before_one_that_waits_in_a_worker(
    system: System, origin: Origin, starts: list[Start]
) -> None:
    gate = take_the_slot(system, origin, starts[0])
    early, late = (system.submit(origin.serve(f"/{n}", size=10).url) for n in ("early", "late"))
    system.runtime.slot_queue._max_wait = 0.0
    starts[0](early)
    system.wait_for(early, S.WAITING)
    starts[1](late)
    wait_until(lambda: places(system) == 2, what="both are in the line")
    gate.set()
    system.wait_for(early, S.QUEUED)
    wait_until(lambda: system.runtime.broker.requeued() == {early.id}, what="its message")
    assert len(origin.requests) == 1, "its slot is kept"
    with system.store.client(db=1) as client:
        assert client.llen(REQUEUED_QUEUE) == 1
    starts[0](early)
    system.wait_for(late, S.COMPLETED)
    assert [request.path for request in origin.requests] == ["/first", "/early", "/late"]


@pytest.mark.parametrize("action", [tasks.cancel, tasks.pause])
def test_a_job_that_is_stopped_while_it_waits_leaves_the_line(
    system: System, origin: Origin, starts: list[Start], action: Callable[..., object]
) -> None:
    gate = take_the_slot(system, origin, starts[0])
    stopped = system.submit(origin.serve("/stopped", size=10).url)
    ends = starts[1](stopped)
    wait_until(lambda: places(system) == 1, what="it is in the line")
    action(stopped.id, runtime=system.runtime)
    wait_until(lambda: ends, what="its end")
    assert ends[0].outcome in {Outcome.CANCELLED, Outcome.PAUSED}
    assert places(system) == 0
    gate.set()
