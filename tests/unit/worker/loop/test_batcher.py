"""What callers hand in together is done together, and each gets its own result."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any

import pytest

from worker.loop.batcher import LIMIT, Batcher
from worker.loop.event_loop import EventLoopThread


@pytest.fixture
def loop() -> Iterator[EventLoopThread]:
    loop = EventLoopThread("test")
    yield loop
    loop.close()


class Recorder:
    """Runs batches of numbers and keeps them; `gate` holds a batch back."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.started = threading.Semaphore(0)
        self.gate = threading.Event()
        self.gate.set()

    def run(self, numbers: Sequence[int]) -> list[Any]:
        self.batches.append(list(numbers))
        self.started.release()
        assert self.gate.wait(10)
        return [ValueError(str(one)) if one < 0 else one * 10 for one in numbers]


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def batcher(recorder: Recorder) -> Iterator[Batcher[int]]:
    batcher = Batcher("test", recorder.run)
    yield batcher
    batcher.close()


def results_of(batcher: Batcher[int], numbers: Sequence[int]) -> Coroutine[Any, Any, list[Any]]:
    async def hand_in() -> list[Any]:
        return await asyncio.gather(*(batcher(one) for one in numbers), return_exceptions=True)

    return hand_in()


def test_a_lone_item_goes_at_once(
    loop: EventLoopThread, batcher: Batcher[int], recorder: Recorder
) -> None:
    assert loop.run(results_of(batcher, [1])) == [10]
    assert recorder.batches == [[1]]


def test_items_of_one_moment_are_one_batch(
    loop: EventLoopThread, batcher: Batcher[int], recorder: Recorder
) -> None:
    assert loop.run(results_of(batcher, range(5))) == [0, 10, 20, 30, 40]
    assert recorder.batches == [[0, 1, 2, 3, 4]]


def test_items_that_come_while_a_batch_runs_are_the_next_one(
    loop: EventLoopThread, batcher: Batcher[int], recorder: Recorder
) -> None:
    recorder.gate.clear()
    first = asyncio.run_coroutine_threadsafe(results_of(batcher, [1]), loop.loop)
    assert recorder.started.acquire(timeout=10)
    others = [
        asyncio.run_coroutine_threadsafe(results_of(batcher, [one]), loop.loop) for one in (2, 3, 4)
    ]
    loop.run(asyncio.sleep(0))
    recorder.gate.set()
    assert [one.result(10) for one in (first, *others)] == [[10], [20], [30], [40]]
    assert recorder.batches == [[1], [2, 3, 4]]


def test_a_batch_is_bounded_and_the_order_kept(
    loop: EventLoopThread, batcher: Batcher[int], recorder: Recorder
) -> None:
    numbers = list(range(2 * LIMIT + 1))
    assert loop.run(results_of(batcher, numbers)) == [one * 10 for one in numbers]
    assert [len(batch) for batch in recorder.batches] == [LIMIT, LIMIT, 1]
    assert [one for batch in recorder.batches for one in batch] == numbers


def test_an_item_that_fails_fails_alone(loop: EventLoopThread, batcher: Batcher[int]) -> None:
    before, failed, after = loop.run(results_of(batcher, [1, -2, 3]))
    assert (before, str(failed), after) == (10, "-2", 30)


def test_a_batch_that_fails_fails_for_all_and_the_next_one_runs(loop: EventLoopThread) -> None:
    failures: list[Exception] = [OSError("the server is away")]

    def run(numbers: Sequence[int]) -> Sequence[int]:
        if failures:
            raise failures.pop()
        return numbers

    batcher = Batcher("test", run)
    found = loop.run(results_of(batcher, [1, 2]))
    assert [str(one) for one in found] == ["the server is away"] * 2
    assert loop.run(results_of(batcher, [3])) == [3]
    batcher.close()


def test_a_caller_that_gave_up_does_not_disturb_the_others(
    loop: EventLoopThread, batcher: Batcher[int], recorder: Recorder
) -> None:
    async def give_up_on_one() -> Any:
        given_up, waited_for = batcher(1), batcher(2)
        given_up.cancel()
        return await waited_for

    assert loop.run(give_up_on_one()) == 20
    assert recorder.batches == [[1, 2]]


@pytest.mark.parametrize("answer", [lambda _: [], lambda numbers: [*numbers, 0]])
def test_a_wrong_number_of_results_is_an_error(
    loop: EventLoopThread, answer: Callable[[Sequence[int]], Sequence[int]]
) -> None:
    """It must not leave its callers waiting."""
    batcher = Batcher("test", answer)
    (found,) = loop.run(results_of(batcher, [1]))
    assert isinstance(found, RuntimeError)
    batcher.close()


def test_a_batch_that_no_thread_can_run_fails_and_the_next_one_runs(
    loop: EventLoopThread, batcher: Batcher[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    _ = loop.loop
    with monkeypatch.context() as refused:

        def start(_: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        refused.setattr(threading.Thread, "start", start)
        (found,) = loop.run(results_of(batcher, [1]))
    assert isinstance(found, RuntimeError)
    assert loop.run(results_of(batcher, [2])) == [20]
