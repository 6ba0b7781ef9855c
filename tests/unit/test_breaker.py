"""The circuit breaker: closed, open, half open, on a clock that the tests turn."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from cache.store.breaker import FAILURES, PAUSE, Breaker
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
def breaker(clock: Clock) -> Breaker:
    return Breaker(failures=3, pause=10.0, clock=clock)


def fail(breaker: Breaker, times: int = 3) -> None:
    """Calls that get no answer."""
    for _ in range(times):
        breaker.unanswered(breaker.enter())


def lets_through(breaker: Breaker) -> bool:
    try:
        breaker.enter()
    except StoreUnavailableError:
        return False
    return True


# ── closed ──────────────────────────────────────────────────────────────────────────────────────


def test_a_new_breaker_lets_everything_through(breaker: Breaker) -> None:
    assert not breaker.is_open
    assert [breaker.enter() for _ in range(100)] == [0] * 100


def test_it_opens_at_the_limit_and_not_before(breaker: Breaker) -> None:
    fail(breaker, 2)
    assert lets_through(breaker)
    fail(breaker, 1)
    assert breaker.is_open
    assert not lets_through(breaker)


def test_an_answer_in_between_starts_the_count_anew(breaker: Breaker) -> None:
    fail(breaker, 2)
    breaker.answered()
    fail(breaker, 2)
    assert not breaker.is_open
    fail(breaker, 1)
    assert breaker.is_open


def test_without_arguments_it_opens_as_the_constants_say() -> None:
    breaker = Breaker()
    fail(breaker, FAILURES - 1)
    assert not breaker.is_open
    fail(breaker, 1)
    assert breaker.is_open
    assert breaker.pause == PAUSE


# ── open ────────────────────────────────────────────────────────────────────────────────────────


def test_an_open_breaker_says_when_it_asks_again(breaker: Breaker, clock: Clock) -> None:
    fail(breaker)
    clock.now += 4
    with pytest.raises(StoreUnavailableError, match=r"3 times in a row.* in 6\.0 s"):
        breaker.enter()


def test_it_stays_open_for_the_pause(breaker: Breaker, clock: Clock) -> None:
    fail(breaker)
    clock.now += 9.999
    assert not lets_through(breaker)
    clock.now += 0.001
    assert breaker.enter() > 0


def test_calls_that_began_before_do_not_put_off_the_probe(breaker: Breaker, clock: Clock) -> None:
    tickets = [breaker.enter() for _ in range(50)]
    for ticket in tickets:
        breaker.unanswered(ticket)
        clock.now += 0.1
    clock.now = 1000.0 + 0.2 + 10.0  # a pause after the third
    assert breaker.enter() > 0


def test_a_call_that_began_before_and_is_answered_closes_it(breaker: Breaker, clock: Clock) -> None:
    slow = breaker.enter()
    fail(breaker)
    assert slow == 0
    breaker.answered()
    assert not breaker.is_open
    assert lets_through(breaker)


# ── half open ───────────────────────────────────────────────────────────────────────────────────


def test_one_call_probes_and_the_others_still_fail(breaker: Breaker, clock: Clock) -> None:
    fail(breaker)
    clock.now += 10
    assert breaker.enter() > 0
    assert [lets_through(breaker) for _ in range(5)] == [False] * 5
    assert breaker.is_open


def test_a_probe_that_is_answered_closes_it(breaker: Breaker, clock: Clock) -> None:
    fail(breaker)
    clock.now += 10
    breaker.enter()
    breaker.answered()
    assert not breaker.is_open
    fail(breaker, 2)
    assert not breaker.is_open


def test_a_probe_that_fails_keeps_it_open_for_another_pause(breaker: Breaker, clock: Clock) -> None:
    fail(breaker)
    clock.now += 10
    ticket = breaker.enter()
    clock.now += 3  # for so long it waited
    breaker.unanswered(ticket)
    clock.now += 9.999
    assert not lets_through(breaker)
    clock.now += 0.001
    assert lets_through(breaker)


def test_a_probe_whose_caller_never_returns_is_followed_by_another(
    breaker: Breaker, clock: Clock
) -> None:
    fail(breaker)
    clock.now += 10
    first = breaker.enter()
    clock.now += 9.999
    assert not lets_through(breaker)
    clock.now += 0.001
    second = breaker.enter()
    assert second != first


def test_a_probe_that_is_overtaken_puts_off_nothing(breaker: Breaker, clock: Clock) -> None:
    fail(breaker)
    clock.now += 10
    first = breaker.enter()
    clock.now += 10
    breaker.enter()
    clock.now += 9
    breaker.unanswered(first)
    clock.now += 1
    assert lets_through(breaker)


def test_a_probe_that_fails_after_an_answer_does_not_open_it(
    breaker: Breaker, clock: Clock
) -> None:
    fail(breaker)
    clock.now += 10
    ticket = breaker.enter()
    breaker.answered()
    breaker.unanswered(ticket)
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


def test_of_many_threads_one_probes(breaker: Breaker, clock: Clock) -> None:
    fail(breaker)
    for _ in range(20):
        clock.now += 10
        entered: list[int] = []

        def enter(entered: list[int] = entered) -> None:
            if lets_through(breaker):
                entered.append(1)

        in_threads(16, enter)
        assert len(entered) == 1


def test_threads_that_fail_together_open_it_once(breaker: Breaker, clock: Clock) -> None:
    in_threads(16, lambda: breaker.unanswered(0))
    assert breaker.is_open
    with pytest.raises(StoreUnavailableError, match=r"16 times in a row.* in 10\.0 s"):
        breaker.enter()
