"""Which failures are retried within an attempt, and how soon."""

from __future__ import annotations

from dataclasses import replace

import pytest

from domain.errors import TransientError
from worker.transfer.interfaces import TransferOptions
from worker.transfer.retry_budget import MAX_DELAY, RetryBudget

OPTIONS = TransferOptions(
    connect_timeout=1,
    low_speed_time=10,
    low_speed_limit=1000,
    max_redirects=5,
    user_agent="test",
    checkpoint_interval=1,
    short_retries=3,
    retry_pause=0.5,
)
RESET = TransientError("It broke.", code="reset")


def retries(**changes: float) -> RetryBudget:
    return RetryBudget(replace(OPTIONS, **changes), 0.0)  # type: ignore[arg-type]


def test_a_failure_after_failures_is_waited_for_longer_and_the_budget_ends() -> None:
    budget = retries()
    pauses = [budget.next_delay(RESET, 0, now) for now in (1.0, 2.0, 3.0)]
    for pause, longest in zip(pauses, (0.5, 1.0, 2.0), strict=True):
        assert longest / 2 <= pause <= longest
    with pytest.raises(TransientError) as caught:
        budget.next_delay(RESET, 0, 4.0)
    assert caught.value is RESET


def test_progress_fills_the_budget_up() -> None:
    """An origin that breaks off every now and then is read to its end, however often."""
    budget, count = retries(), 0
    for now in range(1, 100):
        count += 1000
        assert budget.next_delay(RESET, count, float(now)) <= 0.1
    for _ in range(2):
        budget.next_delay(RESET, count, 100.0)
    with pytest.raises(TransientError):
        budget.next_delay(RESET, count, 100.0)


@pytest.mark.parametrize(
    ("gained", "seconds", "is_progress"),
    [(1000, 1.0, True), (999, 1.0, False), (10_000, 10.0, True), (1, 0.0, True), (0, 0.0, False)],
)
def test_progress_is_faster_than_what_counts_as_standing_still(
    gained: int, seconds: float, is_progress: bool
) -> None:
    budget = retries(short_retries=1)
    budget.next_delay(RESET, 0, 1.0)
    if is_progress:
        budget.next_delay(RESET, gained, 1.0 + seconds)
    else:
        with pytest.raises(TransientError):
            budget.next_delay(RESET, gained, 1.0 + seconds)


def test_bytes_of_before_are_no_progress() -> None:
    budget = retries(short_retries=1)
    budget.next_delay(RESET, 50_000, 1.0)
    with pytest.raises(TransientError):
        budget.next_delay(RESET, 50_000, 1.0)


def test_a_restarted_file_is_no_progress_until_it_grows() -> None:
    budget = retries(short_retries=2)
    budget.next_delay(RESET, 50_000, 1.0)
    budget.next_delay(RESET, 0, 1.0)
    assert budget.next_delay(RESET, 50_000, 1.0) <= 0.1


@pytest.mark.parametrize("seconds", [0.0, 1.0, 3600.0])
def test_an_origin_that_says_when_is_waited_for_by_the_job(seconds: float) -> None:
    busy = TransientError("It is busy.", code="http_503", retry_after=seconds)
    with pytest.raises(TransientError) as caught:
        retries().next_delay(busy, 1_000_000, 1.0)
    assert caught.value is busy


def test_a_long_pause_is_the_jobs_own() -> None:
    budget = retries(short_retries=100, retry_pause=MAX_DELAY / 2)
    for _ in range(2):
        assert budget.next_delay(RESET, 0, 1.0) <= MAX_DELAY
    with pytest.raises(TransientError):
        budget.next_delay(RESET, 0, 1.0)


def test_without_a_budget_nothing_is_tried_again() -> None:
    with pytest.raises(TransientError):
        retries(short_retries=0).next_delay(RESET, 1_000_000, 1.0)
