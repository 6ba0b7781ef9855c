"""A transfer's bytes against its rate limit; on a clock that the tests set."""

from __future__ import annotations

import pytest

from worker.transfer.interfaces import UnlimitedQuota
from worker.transfer.token_bucket import TokenBucket

KIB = 1024
CHUNK = 16 * KIB


class Rate(UnlimitedQuota):
    """An quota whose rate a test changes."""

    def __init__(self, rate: float | None) -> None:
        self.rate = rate


def moved(bucket: TokenBucket, start: float, seconds: float, step: float = 0.05) -> int:
    """Take chunks whenever that may be done, looking every `step` seconds; return the bytes."""
    total = 0
    for number in range(1, round(seconds / step) + 1):
        bucket.refill(start + number * step)
        while bucket.try_consume(CHUNK):
            total += CHUNK
    return total


@pytest.mark.parametrize("rate", [8 * KIB, 100 * KIB, 1000 * KIB, 50_000 * KIB])
@pytest.mark.parametrize("step", [0.01, 0.2])
def test_a_rate_is_kept_and_reached(rate: int, step: float) -> None:
    bytes_ = moved(TokenBucket(Rate(rate), 0.0), 0.0, 20, step)
    assert bytes_ == pytest.approx(20 * rate, abs=CHUNK + 0.25 * rate)


def test_without_a_rate_everything_is_taken_at_once() -> None:
    bucket = TokenBucket(UnlimitedQuota(), 0.0)
    assert all(bucket.try_consume(CHUNK) for _ in range(1000))
    assert bucket.seconds_until_ready() == 0


def test_standing_still_saves_little_up() -> None:
    """After an hour of nothing there is no burst of an hour's bytes."""
    bucket = TokenBucket(Rate(1000 * KIB), 0.0)
    assert moved(bucket, 3600, 0.05) <= 300 * KIB + CHUNK


def test_a_changed_rate_counts_from_its_change_on() -> None:
    rate = Rate(100 * KIB)
    bucket = TokenBucket(rate, 0.0)
    moved(bucket, 0.0, 10)
    rate.rate = 1000 * KIB
    assert moved(bucket, 10.0, 10) == pytest.approx(10_000 * KIB, rel=0.05)
    rate.rate = 100 * KIB
    assert moved(bucket, 20.0, 10) == pytest.approx(1000 * KIB, rel=0.3)
    rate.rate = None
    assert bucket.try_consume(1 << 30)


def test_a_rate_that_comes_after_freedom_finds_no_debt_and_no_savings() -> None:
    rate = Rate(None)
    bucket = TokenBucket(rate, 0.0)
    moved_freely = bucket.try_consume(1 << 30)
    bucket.refill(10.0)
    rate.rate = 1000.0
    assert moved_freely
    assert not bucket.try_consume(1)
    bucket.refill(11.0)
    assert bucket.try_consume(1)


def test_the_pause_ends_when_a_chunk_may_be_taken() -> None:
    bucket = TokenBucket(Rate(100 * KIB), 0.0)
    bucket.refill(0.1)
    assert bucket.try_consume(CHUNK)
    assert not bucket.try_consume(CHUNK)
    pause = bucket.seconds_until_ready()
    assert 0 < pause < 1
    bucket.refill(0.1 + pause)
    assert bucket.seconds_until_ready() == 0
    assert bucket.try_consume(CHUNK)
