"""The smoothed speed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.progress.speed import SpeedMeter

MIB = 2**20


def test_a_steady_stream_has_its_exact_speed_from_the_first_sample() -> None:
    meter = SpeedMeter(100.0, 0)
    for second in range(1, 20):
        assert meter.sample(100.0 + second, second * 5 * MIB) == pytest.approx(5 * MIB)


def test_half_of_a_change_is_seen_after_one_half_life() -> None:
    meter = SpeedMeter(0.0, 0, half_life=2.0)
    for step in range(1, 101):
        meter.sample(step * 2.0, step * 2 * 8 * MIB)
    assert meter.sample(202.0, 100 * 2 * 8 * MIB) == pytest.approx(4 * MIB, rel=0.01)


def test_bytes_that_were_there_before_do_not_count() -> None:
    assert SpeedMeter(0.0, 10**12).sample(1.0, 10**12 + MIB) == pytest.approx(MIB)


def test_there_is_no_speed_before_time_has_passed() -> None:
    meter = SpeedMeter(5.0, 0)
    assert meter.sample(5.0, 1000) == 0.0
    assert meter.sample(4.0, 1000) == 0.0


def test_a_count_that_fell_is_no_negative_speed() -> None:
    meter = SpeedMeter(0.0, 1000 * MIB)
    assert meter.sample(1.0, 0) == 0.0
    assert meter.sample(2.0, 2 * MIB) > 0.0


def test_a_stream_that_stopped_comes_to_rest_at_zero() -> None:
    meter = SpeedMeter(0.0, 0)
    meter.sample(1.0, MIB)
    assert meter.sample(60.0, MIB) == 0.0


@given(st.lists(st.tuples(st.floats(0.001, 60), st.integers(0, 10**10)), min_size=1, max_size=30))
def test_a_speed_is_never_beyond_the_fastest_sample(steps: list[tuple[float, int]]) -> None:
    now, size, fastest = 0.0, 0, 0.0
    meter = SpeedMeter(0.0, 0)
    for seconds, gained in steps:
        fastest = max(fastest, gained / seconds)
        now, size = now + seconds, size + gained
        assert 0.0 <= meter.sample(now, size) <= fastest * 1.001
