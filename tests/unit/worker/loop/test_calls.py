"""Calls in threads, and how their results come back to the event loop."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from worker.loop.calls import CallThreads

ROOT = Path(__file__).parents[4]


@pytest.fixture
def threads() -> Iterator[CallThreads]:
    threads = CallThreads(3, "test")
    yield threads
    threads.shutdown()


def fail() -> None:
    raise ValueError("no")


def test_each_call_gets_its_own_result_or_error(threads: CallThreads) -> None:
    async def main() -> list[object]:
        calls = (threads.call(one) for one in (lambda: 1, fail, lambda: 3, threading.get_ident))
        return await asyncio.gather(*calls, return_exceptions=True)

    first, error, third, ident = asyncio.run(main())
    assert (first, third) == (1, 3)
    assert isinstance(error, ValueError)
    assert ident != threading.get_ident()


def test_calls_beyond_the_threads_wait_in_order(threads: CallThreads) -> None:
    running, gate, order = threading.Semaphore(0), threading.Event(), list[int]()

    def hold() -> None:
        running.release()
        assert gate.wait(10)

    async def main() -> int:
        held = [threads.call(hold) for _ in range(3)]
        for _ in held:
            assert await asyncio.to_thread(running.acquire, timeout=10)
        single = [threads.call(lambda n=n: order.append(n)) for n in range(50)]  # type: ignore[misc]
        before = len(order)
        gate.set()
        await asyncio.gather(*held, *single)
        return before

    assert asyncio.run(main()) == 0
    assert sorted(order) == list(range(50))


def test_one_call_after_another_needs_one_thread(threads: CallThreads) -> None:
    async def main() -> set[int]:
        return {await threads.call(threading.get_ident) for _ in range(200)}

    assert len(asyncio.run(main())) == 1


def test_a_call_that_is_cancelled_before_it_starts_is_not_made() -> None:
    threads, gate, made = CallThreads(1, "test"), threading.Event(), list[str]()

    async def main() -> None:
        first = threads.call(lambda: gate.wait(10))
        second = threads.call(lambda: made.append("second"))
        third = threads.call(lambda: made.append("third"))
        second.cancel()
        gate.set()
        await asyncio.gather(first, third)

    asyncio.run(main())
    threads.shutdown()
    assert made == ["third"]


def test_an_end_that_fails_holds_no_other_up(threads: CallThreads) -> None:
    async def main() -> tuple[str, int]:
        loop = asyncio.get_running_loop()
        reported: asyncio.Future[str] = loop.create_future()
        loop.set_exception_handler(lambda _, context: reported.set_result(context["message"]))

        def end(_result: object, _error: BaseException | None) -> None:
            fail()

        threads.start(lambda: 1, end)
        return await reported, await threads.call(lambda: 2)

    message, result = asyncio.run(main())
    assert "could not be handled" in message
    assert result == 2


def test_two_loops_get_their_own_results(threads: CallThreads) -> None:
    def count() -> int:
        async def main() -> int:
            numbers = [threads.call(lambda n=n: n) for n in range(100)]  # type: ignore[misc]
            return sum(await asyncio.gather(*numbers))

        return asyncio.run(main())

    sums: list[int] = []
    callers = [threading.Thread(target=lambda: sums.append(count())) for _ in range(2)]
    for one in callers:
        one.start()
    for one in callers:
        one.join(20)
    assert sums == [4950, 4950]


def test_shutdown_makes_the_calls_that_wait_and_takes_no_others() -> None:
    threads, made = CallThreads(1, "test"), list[int]()

    async def main() -> None:
        for n in range(20):
            threads.start(lambda n=n: made.append(n), lambda *_: None)  # type: ignore[misc]
        await asyncio.to_thread(threads.shutdown)
        with pytest.raises(RuntimeError, match="closed"):
            threads.call(fail)

    asyncio.run(main())
    assert made == list(range(20))


WITHOUT_THREADS = """
import asyncio, resource, threading
from pathlib import Path
from worker.loop.calls import CallThreads

async def main():
    threads, gate = CallThreads(4, "test"), threading.Event()
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    try:
        threads.call(print)
    except RuntimeError as error:
        print(error)
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    first = threads.call(gate.wait)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    second = threads.call(lambda: "called")
    gate.set()
    print(await second, await first)

size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
_, hard = resource.getrlimit(resource.RLIMIT_AS)
limit = size + 2**21  # less than a stack
asyncio.run(main())
"""


def test_calls_go_on_with_the_threads_there_are() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_THREADS],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.splitlines() == ["can't start new thread", "called True"], done.stderr
