"""Calls of one folder share threads; each has its own result; a folder that hangs stops no other."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from tests.support.wait import wait_until
from worker.loop.calls import CallThreads
from worker.loop.event_loop import EventLoopThread
from worker.loop.folder_threads import MOST_LONG, MOST_QUICK, MOST_THREADS, FolderThreads


@pytest.fixture
def loop() -> Iterator[EventLoopThread]:
    loop = EventLoopThread("test")
    yield loop
    loop.close()


@pytest.fixture
def disk() -> Iterator[FolderThreads]:
    disk = FolderThreads(CallThreads(MOST_THREADS, "disk"))
    yield disk
    disk.shutdown()


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Lets the calls go on that hang; opened at the end of a test."""
    gate = threading.Event()
    yield gate
    gate.set()


class Hanging:
    """Calls that hang until the gate is open, and how many have started."""

    def __init__(self, gate: threading.Event) -> None:
        self._gate = gate
        self.started: list[str] = []

    def call(self) -> str:
        self.started.append(threading.current_thread().name)
        assert self._gate.wait(30)
        return threading.current_thread().name


async def results(
    disk: FolderThreads, folder: str, calls: list[Callable[[], Any]], **options: bool
) -> list[Any]:
    futures = [disk.call(folder, call, **options) for call in calls]
    return await asyncio.gather(*futures, return_exceptions=True)


def start(
    loop: EventLoopThread, disk: FolderThreads, folder: str, calls: list[Any], **options: bool
) -> Any:
    return asyncio.run_coroutine_threadsafe(results(disk, folder, calls, **options), loop.loop)


def test_each_call_has_its_own_result_and_its_own_error(
    loop: EventLoopThread, disk: FolderThreads
) -> None:
    def fail(number: int) -> int:
        if number % 3 == 0:
            raise ValueError(str(number))
        return number

    found = loop.run(results(disk, "/a", [partial(fail, n) for n in range(200)]))
    for number, one in enumerate(found):
        assert str(one) == str(number)
        assert isinstance(one, ValueError) == (number % 3 == 0)


def test_a_lone_call_goes_at_once(
    loop: EventLoopThread, disk: FolderThreads, gate: threading.Event
) -> None:
    """Also beside another folder that hangs, and again after the threads have ended."""
    hanging = Hanging(gate)
    start(loop, disk, "/a", [hanging.call])
    for _ in range(50):
        assert loop.run(results(disk, "/b", [lambda: 1])) == [1]


def test_calls_that_wait_are_made_by_the_thread_that_runs(
    loop: EventLoopThread, disk: FolderThreads
) -> None:
    """Given calls that are quick and come together."""
    names = loop.run(results(disk, "/a", [lambda: threading.current_thread().name] * 100))
    assert len(set(names)) <= MOST_QUICK


@pytest.mark.parametrize(("takes_long", "most"), [(False, MOST_QUICK), (True, MOST_LONG)])
def test_a_folder_that_hangs_holds_some_threads_and_no_more(
    loop: EventLoopThread,
    disk: FolderThreads,
    gate: threading.Event,
    takes_long: bool,
    most: int,
) -> None:
    hanging, beside = Hanging(gate), Hanging(gate)
    bad = start(loop, disk, "/bad", [hanging.call] * (most + 20), takes_long=takes_long)
    wait_until(lambda: len(hanging.started) == most, what="more threads serve a slow disk")
    # A few calls that are of the other kind go on there, too, and all calls of other folders do.
    start(loop, disk, "/bad", [beside.call] * 3, takes_long=not takes_long)
    wait_until(lambda: len(beside.started) == 3)
    for _ in range(20):
        assert loop.run(results(disk, "/good", [lambda: 1] * 5)) == [1] * 5
        assert loop.run(results(disk, "/good", [lambda: 1] * 5, takes_long=True)) == [1] * 5
    assert len(hanging.started) == most
    gate.set()
    assert len(bad.result(30)) == most + 20


def test_a_call_behind_one_that_hangs_waits_no_longer_than_for_another_thread(
    loop: EventLoopThread, disk: FolderThreads, gate: threading.Event
) -> None:
    hanging = Hanging(gate)
    first = start(loop, disk, "/a", [hanging.call])
    wait_until(lambda: bool(hanging.started))
    assert loop.run(results(disk, "/a", [lambda: 1])) == [1]
    gate.set()
    first.result(30)


class EndingThreads(CallThreads):
    """Also shows how many threads have served a folder to the end."""

    def __init__(self) -> None:
        super().__init__(MOST_THREADS, "disk")
        self.ended = 0

    def start(self, function: Callable[[], Any], on_end: Any) -> None:
        def serve() -> None:
            function()
            self.ended += 1

        super().start(serve, on_end)


def test_a_call_is_made_that_comes_when_the_only_thread_that_does_not_hang_has_just_ended(
    loop: EventLoopThread, gate: threading.Event
) -> None:
    """As many threads as a folder may have still seem to serve it then."""
    threads = EndingThreads()
    disk = FolderThreads(threads)
    hanging, quick_gate = Hanging(gate), threading.Event()
    quick = Hanging(quick_gate)

    async def call_at_the_end() -> int:
        called: asyncio.Future[asyncio.Future[int]] = asyncio.get_running_loop().create_future()

        def call_again(_result: Any, _error: BaseException | None) -> None:
            wait_until(lambda: threads.ended > 0)  # which the loop has not heard of
            called.set_result(disk.call("/a", lambda: 1))

        disk.start("/a", quick.call, call_again)
        for _ in range(MOST_QUICK - 1):
            disk.call("/a", hanging.call)
        while len(hanging.started) + len(quick.started) < MOST_QUICK:
            await asyncio.sleep(0.001)
        quick_gate.set()
        return await asyncio.wait_for(await called, 10)

    try:
        assert loop.run(call_at_the_end()) == 1
    finally:
        gate.set()
        disk.shutdown()


def test_a_call_whose_caller_is_cancelled_is_not_started(
    loop: EventLoopThread, disk: FolderThreads, gate: threading.Event
) -> None:
    hanging = Hanging(gate)
    made: list[int] = []

    async def cancel_one() -> None:
        for _ in range(MOST_QUICK):
            disk.call("/a", hanging.call)
        while len(hanging.started) < MOST_QUICK:
            await asyncio.sleep(0.001)
        cancelled, other = (disk.call("/a", partial(made.append, n)) for n in (1, 2))
        cancelled.cancel()
        gate.set()
        await other

    loop.run(cancel_one())
    assert made == [2]


def test_the_first_thread_that_the_system_refuses_is_the_error_of_all_who_wait(
    loop: EventLoopThread, disk: FolderThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    loop.run(asyncio.sleep(0))  # the thread of the loop
    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", refuse)
        refused = loop.run(results(disk, "/a", [lambda: 1] * 3))
    assert [str(one) for one in refused] == ["can't start new thread"] * 3
    assert loop.run(results(disk, "/a", [lambda: 1])) == [1]
