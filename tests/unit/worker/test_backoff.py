"""The wait between attempts: doubling, jittered, bounded."""

from __future__ import annotations

import pytest

from worker.backoff import RetryPolicy

POLICY = RetryPolicy(first=2.0, longest=300.0)


@pytest.mark.parametrize(
    ("attempts", "most"), [(1, 2), (2, 4), (3, 8), (8, 256), (9, 300), (1000, 300)]
)
def test_it_doubles_up_to_the_longest(attempts: int, most: float) -> None:
    pauses = [POLICY.delay(attempts) for _ in range(200)]
    assert most / 2 <= min(pauses) <= max(pauses) <= most
    assert len(set(pauses)) > 100


def test_it_stays_away_as_long_as_the_origin_asks_but_not_forever() -> None:
    assert POLICY.delay(1, retry_after=60) == 60
    assert POLICY.delay(1, retry_after=1e9) == 300
    assert POLICY.delay(5, retry_after=0) >= 16
