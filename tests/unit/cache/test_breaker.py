"""The circuit breaker: closed, open, half open, on a clock that the tests turn."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from cache.store.circuit_breaker import FAILURE_THRESHOLD, OPEN_SECONDS, CircuitBreaker
from cache.store.outage_log import MAX_IN_WINDOW, WINDOW_SECONDS, OutageLog
from domain.errors import StoreUnavailableError


class Clock:
    """Monotonic seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> CircuitBreaker:
    return CircuitBreaker(failure_threshold=3, open_seconds=10.0, clock=clock)


def fail(breaker: CircuitBreaker, times: int = 3) -> None:
    """Calls that get no answer."""
    for _ in range(times):
        breaker.record_failure(breaker.before_call())


def lets_through(breaker: CircuitBreaker) -> bool:
    try:
        breaker.before_call()
    except StoreUnavailableError:
        return False
    return True


# ── closed ──────────────────────────────────────────────────────────────────────────────────────


def test_a_new_breaker_lets_everything_through(breaker: CircuitBreaker) -> None:
    assert not breaker.is_open
    assert [breaker.before_call() for _ in range(100)] == [0] * 100


def test_it_opens_at_the_limit_and_not_before(breaker: CircuitBreaker) -> None:
    fail(breaker, 2)
    assert lets_through(breaker)
    fail(breaker, 1)
    assert breaker.is_open
    assert not lets_through(breaker)


def test_an_answer_resets_the_count_of_failures(breaker: CircuitBreaker) -> None:
    fail(breaker, 2)
    breaker.record_success()
    fail(breaker, 2)
    assert not breaker.is_open
    fail(breaker, 1)
    assert breaker.is_open


def test_without_arguments_it_opens_as_the_constants_say() -> None:
    breaker = CircuitBreaker()
    fail(breaker, FAILURE_THRESHOLD - 1)
    assert not breaker.is_open
    fail(breaker, 1)
    assert breaker.is_open
    assert breaker.open_seconds == OPEN_SECONDS


# ── open ────────────────────────────────────────────────────────────────────────────────────────


def test_an_open_breaker_says_when_it_asks_again(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker)
    clock.now += 4
    with pytest.raises(StoreUnavailableError, match=r"last 3 calls.* in 6\.0 s"):
        breaker.before_call()


def test_it_stays_open_for_the_pause(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker)
    clock.now += 9.999
    assert not lets_through(breaker)
    clock.now += 0.001
    assert breaker.before_call() > 0


def test_calls_that_began_before_do_not_put_off_the_probe(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    tickets = [breaker.before_call() for _ in range(50)]
    for ticket in tickets:
        breaker.record_failure(ticket)
        clock.now += 0.1
    clock.now = 1000.0 + 0.2 + 10.0  # a pause after the third
    assert breaker.before_call() > 0


def test_a_call_that_began_before_and_is_answered_closes_it(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    slow = breaker.before_call()
    fail(breaker)
    assert slow == 0
    breaker.record_success()
    assert not breaker.is_open
    assert lets_through(breaker)


# ── half open ───────────────────────────────────────────────────────────────────────────────────


def test_one_call_probes_and_the_others_still_fail(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker)
    clock.now += 10
    assert breaker.before_call() > 0
    assert [lets_through(breaker) for _ in range(5)] == [False] * 5
    assert breaker.is_open


def test_a_probe_that_is_answered_closes_it(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker)
    clock.now += 10
    breaker.before_call()
    breaker.record_success()
    assert not breaker.is_open
    fail(breaker, 2)
    assert not breaker.is_open


def test_a_probe_that_fails_keeps_it_open_for_another_pause(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    fail(breaker)
    clock.now += 10
    ticket = breaker.before_call()
    clock.now += 3  # for so long it waited
    breaker.record_failure(ticket)
    clock.now += 9.999
    assert not lets_through(breaker)
    clock.now += 0.001
    assert lets_through(breaker)


def test_a_probe_whose_caller_never_returns_is_followed_by_another(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    fail(breaker)
    clock.now += 10
    first = breaker.before_call()
    clock.now += 9.999
    assert not lets_through(breaker)
    clock.now += 0.001
    second = breaker.before_call()
    assert second != first


def test_a_probe_that_is_overtaken_puts_off_nothing(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker)
    clock.now += 10
    first = breaker.before_call()
    clock.now += 10
    breaker.before_call()
    clock.now += 9
    breaker.record_failure(first)
    clock.now += 1
    assert lets_through(breaker)


def test_a_probe_that_fails_after_an_answer_does_not_open_it(
    breaker: CircuitBreaker, clock: Clock
) -> None:
    fail(breaker)
    clock.now += 10
    ticket = breaker.before_call()
    breaker.record_success()
    breaker.record_failure(ticket)
    assert not breaker.is_open


# ── threads ─────────────────────────────────────────────────────────────────────────────────────


def in_threads(count: int, call: Callable[[], object]) -> None:
    """Call something in many threads at once."""
    barrier = threading.Barrier(count)

    def run() -> None:
        barrier.wait()
        call()

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_of_many_threads_one_probes(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker)
    for _ in range(20):
        clock.now += 10
        entered: list[int] = []

        def enter(entered: list[int] = entered) -> None:
            if lets_through(breaker):
                entered.append(1)

        in_threads(16, enter)
        assert len(entered) == 1


def test_threads_that_fail_together_open_it_once(breaker: CircuitBreaker, clock: Clock) -> None:
    in_threads(16, lambda: breaker.record_failure(0))
    assert breaker.is_open
    with pytest.raises(StoreUnavailableError, match=r"last 16 calls.* in 10\.0 s"):
        breaker.before_call()


# ── the log ─────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def logged(clock: Clock) -> CircuitBreaker:
    return CircuitBreaker(clock=clock, outages=OutageLog("store:6379", clock))


def test_an_outage_is_logged_once_and_its_end_once(
    logged: CircuitBreaker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    logged.record_success()
    assert caplog.records == []
    for _ in range(30):
        logged.record_failure(0)
    (lost,) = caplog.records
    assert lost.levelname == "WARNING"
    assert "store:6379" in lost.getMessage()
    logged.record_success()
    logged.record_success()
    assert [one.levelname for one in caplog.records] == ["WARNING", "INFO"]


def test_a_store_that_comes_and_goes_does_not_fill_the_log(
    logged: CircuitBreaker, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    for _ in range(100):
        logged.record_failure(0)
        logged.record_success()
    assert [one.levelname for one in caplog.records] == ["WARNING", "INFO"] * MAX_IN_WINDOW
    logged.record_failure(0)
    clock.now += WINDOW_SECONDS
    caplog.clear()
    logged.record_failure(0)  # an outage that was not logged at its start is logged later
    assert [one.levelname for one in caplog.records] == ["WARNING"]
