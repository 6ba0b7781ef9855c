"""Delays double with each failure, up to a longest one, and may be random in part."""

from __future__ import annotations

import pytest

from domain.backoff import Backoff


@pytest.mark.parametrize(
    ("failures", "delay"), [(1, 0.5), (2, 1.0), (4, 4.0), (5, 6.0), (5000, 6.0)]
)
def test_a_delay_doubles_up_to_the_longest(failures: int, delay: float) -> None:
    assert Backoff(first=0.5, longest=6.0).delay(failures) == delay


def test_a_part_of_a_delay_is_random() -> None:
    backoff = Backoff(first=3.0, longest=6.0, jitter=2 / 3)
    delays = [backoff.delay(1) for _ in range(300)]
    assert 1.0 <= min(delays) < 1.5
    assert 2.5 < max(delays) <= 3.0
