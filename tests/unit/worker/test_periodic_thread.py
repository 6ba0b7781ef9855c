"""A periodic thread survives errors of its function and ends when it is stopped."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.support.wait import wait_until
from worker.periodic_thread import PeriodicThread

SOON, NEVER = 0.005, 3600.0

Make = Callable[..., PeriodicThread]


@pytest.fixture
def thread() -> Iterator[Make]:
    """Makes tickers that are closed at the end: ``thread(work, interval)``."""
    with ExitStack() as stack:

        def make(
            work: Callable[[], float | None], interval: float = SOON, first: float | None = None
        ) -> PeriodicThread:
            made = PeriodicThread("our work", work, interval, first=first)
            stack.callback(made.close)
            return made

        yield make


def threads() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name == "our work"]


def test_it_works_again_and_again_once_it_is_started(thread: Make) -> None:
    calls: list[int] = []
    made = thread(lambda: calls.append(1))
    assert not threads()
    made.start()
    wait_until(lambda: len(calls) >= 3)


def test_it_is_started_once(thread: Make) -> None:
    made = thread(lambda: None)
    made.start()
    made.start()
    assert len(threads()) == 1


def test_what_was_never_started_can_be_closed(thread: Make) -> None:
    made = thread(lambda: None)
    made.close()
    made.close()
    assert not threads()


def test_a_call_under_way_is_waited_for_and_is_the_last(thread: Make) -> None:
    started, proceed, calls = threading.Event(), threading.Event(), [0]

    def work() -> None:
        started.set()
        proceed.wait()
        calls[0] += 1

    made = thread(work)
    made.start()
    assert started.wait(10)
    closer = threading.Thread(target=made.close)
    closer.start()
    assert closer.is_alive()
    proceed.set()
    closer.join(10)
    assert not closer.is_alive()
    assert not threads()
    assert calls == [1]


def test_work_may_say_when_it_is_to_be_done_again(thread: Make) -> None:
    calls: list[int] = []

    def work() -> float:
        calls.append(1)
        return SOON if len(calls) < 3 else NEVER

    thread(work, interval=NEVER, first=SOON).start()
    wait_until(lambda: len(calls) == 3)


def test_the_first_call_may_come_at_another_time(thread: Make) -> None:
    called = threading.Event()
    thread(called.set, interval=NEVER, first=0.0).start()
    assert called.wait(10)


def test_an_error_does_not_end_the_thread_and_is_logged_once_in_a_row(
    thread: Make, caplog: pytest.LogCaptureFixture
) -> None:
    outcomes = iter([True, True, True, False, True, True])
    calls: list[float] = []

    def work() -> None:
        calls.append(time.monotonic())
        if next(outcomes, False):
            raise RuntimeError("an unexpected error")

    with caplog.at_level(logging.ERROR):
        thread(work).start()
        wait_until(lambda: len(calls) >= 8)
    logged = [record for record in caplog.records if record.name == "worker.periodic_thread"]
    assert [record.getMessage() for record in logged] == 2 * [
        "our work failed; it is called again as usual"
    ]
    assert all(record.exc_info for record in logged)


def test_a_start_that_the_system_refuses_is_tried_again(
    thread: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    called = threading.Event()
    periodic = thread(called.set, first=0)
    with monkeypatch.context() as refused:

        def start(_: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        refused.setattr(threading.Thread, "start", start)
        with pytest.raises(RuntimeError):
            periodic.start()
    periodic.start()
    assert called.wait(10)
