"""A periodic task runs once at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from tests.support.services.system import System
from tests.support.wait import wait_until
from worker.exclusive import run_exclusive
from worker.runtime import Runtime

T = TypeVar("T")


def run(runtime: Runtime, work: Callable[[], T]) -> T | None:
    return run_exclusive(runtime.leases, runtime.cache.lock("task:sweep"), runtime.drain, work)


def test_a_task_that_still_runs_is_not_started_a_second_time(system: System) -> None:
    entered, leave = threading.Event(), threading.Event()

    def sweep() -> str:
        entered.set()
        assert leave.wait(10)
        return "done"

    results: list[str | None] = []
    first = threading.Thread(target=lambda: results.append(run(system.runtime, sweep)))
    first.start()
    assert entered.wait(5)
    assert run(system.runtime, sweep) is None
    leave.set()
    first.join()
    assert results == ["done"]
    leave.set()
    assert run(system.runtime, sweep) == "done"


def test_its_lock_is_renewed_while_it_works_and_gone_after_it(system: System) -> None:
    cache = system.runtime.cache
    key = cache.keys.lock_key("task:sweep")

    def slow() -> bool:
        def renewed() -> bool:
            left = cache.service.ttl(key) or 0
            lowest.append(left)
            return left > min(lowest) + 0.3

        lowest: list[float] = []
        return wait_until(renewed)

    assert run(system.runtime, slow)
    assert not cache.service.exists(key)


def test_a_task_that_fails_gives_its_lock_back(system: System) -> None:
    def broken() -> None:
        raise ZeroDivisionError

    for _ in range(2):
        try:
            run(system.runtime, broken)
        except ZeroDivisionError:
            continue
        raise AssertionError("the error was swallowed")
