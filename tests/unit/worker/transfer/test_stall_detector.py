"""How fast a connection is, and since when it is too slow; on a clock that the tests set."""

from __future__ import annotations

import pytest

from worker.transfer.stall_detector import SAMPLE_INTERVAL, StallDetector

SLOW = 1000.0


def watched(*received: int, step: float = 1.0, waits: bool = False) -> StallDetector:
    """A connection that began at 100 and was looked at after every step."""
    watch = StallDetector(100.0)
    for number, count in enumerate(received, start=1):
        watch.sample(100.0 + number * step, count, SLOW, is_held_back=waits)
    return watch


def test_a_connection_that_has_said_nothing_is_slow_from_its_beginning() -> None:
    assert watched().slow_since == 100.0
    assert watched(0, 0, 0).slow_since == 100.0


def test_it_is_slow_since_it_last_was_fast_enough() -> None:
    assert watched(1000, 2000, 3000).slow_since == 103.0
    assert watched(5000, 5999, 6998).slow_since == 101.0
    assert watched(0, 0, 1000).slow_since == 103.0


def test_nothing_is_never_fast_enough() -> None:
    watch = StallDetector(0.0)
    watch.sample(1.0, 0, 0.0)
    assert watch.slow_since == 0.0
    watch.sample(2.0, 1, 0.0)
    assert watch.slow_since == 2.0


def test_who_waits_for_us_is_not_slow() -> None:
    assert watched(0, 0, 0, waits=True).slow_since == 103.0
    watch = StallDetector(0.0)
    watch.sample(SAMPLE_INTERVAL / 2, 0, SLOW, is_held_back=True)
    assert watch.slow_since == SAMPLE_INTERVAL / 2, "also between two looks"


def test_looks_that_follow_too_closely_are_one() -> None:
    """Bytes come in bursts: in between, nothing comes."""
    burst, step = 1000, SAMPLE_INTERVAL / 5
    watch = StallDetector(0.0)
    for number in range(1, 21):
        watch.sample(number * step, burst * (number // 5), SLOW)
    assert watch.slow_since == pytest.approx(20 * step)
    assert watch.speed == pytest.approx(burst / SAMPLE_INTERVAL)


def test_the_speed_is_that_of_late() -> None:
    watch = watched(*range(10_000, 110_000, 10_000), *range(100_000, 102_000, 100))
    assert watch.speed == pytest.approx(100, rel=0.05)
    assert watch.average(1e9, 1 << 40) == watch.speed


def test_before_the_first_look_the_average_counts() -> None:
    watch = StallDetector(100.0)
    assert watch.average(100.0, 0) == 0
    assert watch.average(100.1, 5000) == pytest.approx(50_000)
    assert watch.average(100.0, 5000) < float("inf")
