"""Calls that hang in all threads of a pool, as on a mount that does not answer: others are made."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from tests.support.wait import wait_until
from worker.loop.calls import CallThreads
from worker.loop.event_loop import EventLoopThread
from worker.loop.folder_threads import FolderThreads
from worker.loop.threads import Threads

LONG = 60


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Lets the calls go on that hang; opened at the end of a test."""
    gate = threading.Event()
    yield gate
    gate.set()


@pytest.fixture
def loop() -> Iterator[EventLoopThread]:
    loop = EventLoopThread("test")
    yield loop
    loop.close()


def test_other_folders_go_on_while_many_folders_hang(
    loop: EventLoopThread, gate: threading.Event
) -> None:
    """Given twice as many calls that hang, each in a folder of its own, as there are threads."""
    threads = CallThreads(8, "disk", beside_stuck=24)
    disk, started = FolderThreads(threads), list[int]()

    def hang(number: int) -> int:
        started.append(number)
        assert gate.wait(LONG)
        return number

    async def hang_all() -> list[int]:
        calls = [disk.call(f"/bad/{n}", lambda n=n: hang(n)) for n in range(16)]  # type: ignore[misc]
        return list(await asyncio.gather(*calls))

    async def good(folder: str) -> int:
        return await asyncio.wait_for(disk.call(folder, lambda: 1), LONG)

    hanging = asyncio.run_coroutine_threadsafe(hang_all(), loop.loop)
    wait_until(lambda: len(started) >= 8, what="all threads hang")
    for number in range(20):
        assert loop.run(good(f"/good/{number}")) == 1
    gate.set()
    assert hanging.result(LONG) == [*range(16)]

    def are_as_before() -> bool:
        assert loop.run(good("/bad/0")) == 1  # a thread with nothing to do ends after its next call
        return len(threads._threads) <= 8

    wait_until(are_as_before, what="the further threads end")
    disk.shutdown()


def test_threads_beside_stuck_ones_are_bounded(
    loop: EventLoopThread, gate: threading.Event
) -> None:
    threads = CallThreads(2, "disk", beside_stuck=3)

    async def hang_all() -> list[bool]:
        return list(await asyncio.gather(*(threads.call(gate.wait) for _ in range(9))))

    hanging = asyncio.run_coroutine_threadsafe(hang_all(), loop.loop)
    wait_until(lambda: len(threads._threads) == 5, what="the further threads")
    threads._add_threads(100)
    assert len(threads._threads) == 5
    gate.set()
    assert hanging.result(LONG) == [True] * 9
    threads.shutdown()


def test_threads_that_carry_batches_stay_alone(
    loop: EventLoopThread, gate: threading.Event
) -> None:
    threads, entered = CallThreads(1, "sql"), list[int]()

    def call(number: int) -> int:
        entered.append(number)
        assert gate.wait(LONG)
        return number

    async def all_of_them() -> list[int]:
        calls = [threads.call(lambda n=n: call(n)) for n in range(3)]  # type: ignore[misc]
        return list(await asyncio.gather(*calls))

    running = asyncio.run_coroutine_threadsafe(all_of_them(), loop.loop)
    wait_until(lambda: entered == [0])
    assert not threads._relief._is_watching
    gate.set()
    assert running.result(LONG) == [0, 1, 2]
    threads.shutdown()


def test_a_pool_of_an_executor_goes_on_beside_stuck_calls(gate: threading.Event) -> None:
    """Fsyncs, or digests, of two files of a mount that hangs, and one of another mount."""
    with Threads(2, thread_name_prefix="hashing", beside_stuck=4) as pool:
        stuck = [pool.submit(gate.wait, LONG) for _ in range(2)]
        assert pool.submit(lambda: 1).result(LONG) == 1
        gate.set()
        assert all(one.result(LONG) for one in stuck)


def test_a_pool_without_further_threads_stays_as_it_is(gate: threading.Event) -> None:
    with Threads(max_workers=1) as pool:
        stuck, other = pool.submit(gate.wait, LONG), pool.submit(lambda: 1)
        assert not pool._relief._is_watching
        gate.set()
        assert (stuck.result(LONG), other.result(LONG)) == (True, 1)
