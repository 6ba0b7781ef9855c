"""The pool between Celery's event loop and the job pool: what each of them sees of a message."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kombu.asynchronous import Hub

from tests.support.wait import wait_until
from worker.celery_ext.pool import TaskPool
from worker.celery_ext.pool.autoscaler import Autoscaler
from worker.job_pool import JobMessage
from worker.outcome import JobEnd, Outcome

SENT_AT = "2026-01-01T00:00:00+00:00"


class Jobs:
    """A job pool whose jobs end when the test says so, in another thread as in the real one."""

    def __init__(self) -> None:
        self.concurrency = 0
        self.running = 0
        self.messages: list[JobMessage] = []
        self._on_end: list[Callable[[list[JobEnd]], None]] = []
        self.announce_room: Callable[[], None] = lambda: None
        self.error: Exception | None = None

    def has_room(self) -> bool:
        return self.running < self.concurrency

    def on_room(self, callback: Callable[[], None]) -> None:
        self.announce_room = callback

    def start(self, message: JobMessage, on_end: Callable[[list[JobEnd]], None]) -> None:
        if self.error is not None:
            raise self.error
        self.running += len(message.job_ids)
        self.messages.append(message)
        self._on_end.append(on_end)

    def end(self, number: int, outcome: Outcome = Outcome.COMPLETED) -> None:
        """End the jobs of a message."""
        thread = threading.Thread(target=self._end, args=(number, outcome))
        thread.start()
        thread.join()

    def _end(self, number: int, outcome: Outcome) -> None:
        ends = [JobEnd(job_id, outcome) for job_id in self.messages[number].job_ids]
        self.running -= len(ends)
        self._on_end[number](ends)
        self.announce_room()


class App:
    """Of Celery's app, what the pool uses."""

    def __init__(self, jobs: Jobs) -> None:
        self.job_pool = lambda: jobs


class Loop:
    """Celery's event loop, and what the pool has called in it: the thread, and with what."""

    def __init__(self, pool: TaskPool) -> None:
        self.calls: list[tuple[str, Any, int]] = []
        self.pool = pool
        self.hub: Any = Hub()
        self._steps = self.hub.create_loop()
        pool.register_with_event_loop(self.hub)
        self.step()

    def step(self, wait: float = 0.01) -> None:
        """Run one round, which waits so long for an event."""
        self.hub.call_later(wait, lambda: None)
        next(self._steps)

    def has_room(self) -> bool:
        """Whether there is room after one more round."""
        self.step()
        return self.pool.has_room()

    def apply(self, *job_ids: str, task: str = "download.run") -> None:
        """Hand in a message, as Celery does."""
        queue = {"routing_key": "downloads.high"}
        request = {"args": list(job_ids), "delivery_info": queue, "sent_at": SENT_AT}
        self.pool.apply_async(
            _run,
            (task, f"task-{job_ids}", request, "", "json", "utf-8"),
            callback=lambda result: self._record("end", result),
            accept_callback=lambda _pid, _time: self._record("accept", job_ids),
        )

    def results(self) -> list[Any]:
        """What Celery was called back with at the ends of tasks."""
        return [what for kind, what, _ in self.calls if kind == "end"]

    def _record(self, kind: str, what: Any) -> None:
        self.calls.append((kind, what, threading.get_ident()))


def _run(_name: str, _id: str, request: dict[str, Any], *_: Any) -> tuple[int, Any, float]:
    """Stands for Celery's tracer."""
    return 0, request.get("job_ends"), 0.0


@pytest.fixture
def jobs() -> Jobs:
    return Jobs()


@pytest.fixture
def loop(jobs: Jobs) -> Iterator[Loop]:
    pool = TaskPool(limit=2, app=App(jobs))
    loop = Loop(pool)
    yield loop
    loop.hub.close()
    pool.executor.shutdown()


def test_message_is_accepted_and_handed_in_at_once(loop: Loop, jobs: Jobs) -> None:
    loop.apply("a", "b")
    (message,) = jobs.messages
    assert message.job_ids == ("a", "b")
    assert (message.priority, message.queue) == ("high", "downloads.high")
    assert message.sent_at is not None
    assert message.sent_at.isoformat() == SENT_AT
    assert loop.calls == [("accept", ("a", "b"), threading.get_ident())]
    assert len(loop.pool.executor._threads) == 0


def test_task_ends_once_in_the_thread_of_the_loop(loop: Loop, jobs: Jobs) -> None:
    loop.apply("a")
    loop.apply("b", "c")
    jobs.end(1, Outcome.FAILED)
    assert loop.results() == []
    loop.step()
    jobs.end(0)
    loop.step()
    failed, completed = loop.results()
    assert failed[1] == [JobEnd("b", Outcome.FAILED), JobEnd("c", Outcome.FAILED)]
    assert completed[1] == [JobEnd("a", Outcome.COMPLETED)]
    assert failed[2] > 0, "its runtime is that of the jobs"
    assert {thread for _, _, thread in loop.calls} == {threading.get_ident()}


def test_ends_of_an_outage_come_with_the_next_connection(loop: Loop, jobs: Jobs) -> None:
    loop.apply("a")
    loop.hub.close()
    jobs.end(0)
    assert loop.results() == []
    again = Loop(loop.pool)
    assert len(loop.results()) == 1
    again.hub.close()


def test_jobs_that_cannot_be_started_end_their_task(loop: Loop, jobs: Jobs) -> None:
    jobs.error = RuntimeError("can't start new thread")
    loop.apply("a", "b")
    loop.step()
    ((_, ends, _),) = loop.results()
    assert {end.outcome for end in ends} == {Outcome.NOT_STARTED}
    assert "thread" in ends[0].reason
    loop.pool.stop()  # waits for no job


# ── room ────────────────────────────────────────────────────────────────────────────────────────


def test_room_follows_the_slots_of_the_job_pool(loop: Loop, jobs: Jobs) -> None:
    assert loop.pool.has_room()
    loop.apply("a")
    assert loop.pool.has_room()
    loop.apply("b")
    assert not loop.pool.has_room()
    jobs.end(0)
    assert loop.pool.has_room()


def test_end_and_room_wake_a_loop_that_waits(loop: Loop, jobs: Jobs) -> None:
    loop.apply("a", "b", "c")
    assert not loop.pool.has_room()
    threading.Timer(0.05, jobs.end, (0,)).start()
    started = time.monotonic()
    loop.step(wait=30)
    assert time.monotonic() - started < 25
    loop.step()
    assert len(loop.results()) == 1
    assert loop.pool.has_room()


def test_room_wakes_no_loop_that_has_room(loop: Loop, jobs: Jobs) -> None:
    loop.apply("a")
    assert loop.pool.has_room()
    jobs.announce_room()
    assert not loop.hub._ready
    loop.apply("b")
    assert not loop.pool.has_room()
    jobs.announce_room()
    assert loop.hub._ready


@pytest.mark.parametrize(("change", "slots"), [(1, 3), (30, 32), (-1, 1), (-5, 1)])
def test_growing_and_shrinking_change_the_slots(
    loop: Loop, jobs: Jobs, change: int, slots: int
) -> None:
    loop.apply("a")
    assert jobs.concurrency == 2
    (loop.pool.grow if change > 0 else loop.pool.shrink)(abs(change))
    assert jobs.concurrency == loop.pool.limit == loop.pool.num_processes == slots
    assert loop.pool.info["max-concurrency"] == slots
    assert loop.pool.has_room() == (slots > 1)


def test_slots_that_were_changed_before_the_first_download_count(loop: Loop, jobs: Jobs) -> None:
    loop.pool.grow(3)
    loop.apply("a")
    assert jobs.concurrency == 5


def test_periodic_tasks_run_in_threads_and_take_room(loop: Loop) -> None:
    release = threading.Event()
    for _ in range(2):
        assert loop.pool.has_room()
        loop.pool.apply_async(
            lambda *_: release.wait(10),
            ("download.purge", "id", {}, "", "json", "utf-8"),
            callback=lambda _: None,
        )
    assert not loop.pool.has_room()
    assert loop.pool.jobs_in_hand == 2
    release.set()
    wait_until(loop.has_room, what="room")
    assert loop.pool.jobs_in_hand == 0


# ── --autoscale ─────────────────────────────────────────────────────────────────────────────────


class Message:
    """Of Celery's request, what the autoscaler uses."""

    def __init__(self, *job_ids: str) -> None:
        self.args = job_ids


class Worker:
    """Of Celery's worker, what the autoscaler uses; there is no prefetch count to update."""

    @property
    def consumer(self) -> Worker:
        return self

    def _update_prefetch_count(self, _change: int) -> None:
        pass


def test_autoscaler_counts_jobs(loop: Loop, jobs: Jobs) -> None:
    scaler = Autoscaler(loop.pool, 6, 2, worker=Worker())
    for job_ids, slots in (("a", 2), ("bcd", 4), ("efghijk", 6)):
        assert loop.pool.has_room(), "it may grow"
        scaler.maybe_scale(Message(*job_ids))
        assert loop.pool.limit == slots
        loop.apply(*job_ids)
    assert jobs.concurrency == 6
    assert not loop.pool.has_room()
    assert scaler.info() == {"max": 6, "min": 2, "current": 6, "qty": 11}
    scaler.update(max=12)
    assert loop.pool.has_room()
    scaler.update(max=3)
    assert loop.pool.limit == 3
    assert not loop.pool.has_room()


# ── the end of the process ──────────────────────────────────────────────────────────────────────


def test_pool_waits_for_its_jobs_before_it_ends(loop: Loop, jobs: Jobs) -> None:
    loop.apply("a", "b")
    loop.apply("c")
    stopping = threading.Thread(target=loop.pool.stop)
    stopping.start()
    jobs.end(1, Outcome.REQUEUED)
    wait_until(lambda: len(loop.results()) == 1, what="the first message")
    assert stopping.is_alive()
    jobs.end(0, Outcome.REQUEUED)
    stopping.join(10)
    assert not stopping.is_alive()
    assert len(loop.results()) == 2
