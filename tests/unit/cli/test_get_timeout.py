"""When `seen get` stops waiting, and which command continues its jobs."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cli.following.timeout import GetTimeout
from cli.output.resume_command import resume_command, unfinished
from domain.job import JobStatus
from tasks import JobView
from tests.support.build import new_job

S = JobStatus


class Clock:
    """Monotonic seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def seen_as(status: JobStatus, count: int = 0, *, pause: float = 1.0, **changes: Any) -> JobView:
    later = datetime.now(UTC) + timedelta(seconds=pause) if status is S.WAITING else None
    job = replace(
        new_job(), id="j", status=status, bytes_downloaded=count, next_attempt_at=later, **changes
    )
    return JobView.merge(job, None)


FAILED_ONCE = seen_as(S.WAITING, error_code="connect", reason="The connection failed.")


def test_origin_that_does_not_answer_is_given_up_after_a_minute(clock: Clock) -> None:
    timeout = GetTimeout(max_time=None, has_attempts=False, clock=clock)
    assert timeout.exceeded([FAILED_ONCE]) == {}
    clock.now += 59
    assert timeout.exceeded([seen_as(S.DOWNLOADING)]) == {}
    clock.now += 2
    assert (
        "no byte arrived for 60 seconds. The connection failed."
        in (timeout.exceeded([seen_as(S.DOWNLOADING)])["j"])
    )


def test_a_wait_beyond_the_timeout_ends_get_at_once(clock: Clock) -> None:
    timeout = GetTimeout(max_time=None, has_attempts=False, clock=clock)
    waits = seen_as(S.WAITING, pause=300, error_code="http_503", reason="503.")
    assert "seconds away" in timeout.exceeded([waits])["j"]


def test_bytes_renew_the_patience(clock: Clock) -> None:
    timeout = GetTimeout(max_time=None, has_attempts=False, clock=clock)
    timeout.exceeded([FAILED_ONCE])
    clock.now += 59
    timeout.exceeded([seen_as(S.DOWNLOADING, 5)])
    clock.now += 59
    assert timeout.exceeded([seen_as(S.DOWNLOADING, 5)]) == {}


@pytest.mark.parametrize("code", ["disk_full", "host_busy", "user_busy", "worker_resources"])
def test_wait_that_says_nothing_of_the_origin_is_waited_for(clock: Clock, code: str) -> None:
    timeout = GetTimeout(max_time=None, has_attempts=False, clock=clock)
    waits = seen_as(S.WAITING, pause=300, error_code=code, reason="…")
    timeout.exceeded([waits])
    clock.now += 3600
    assert timeout.exceeded([waits]) == {}


def test_given_number_of_attempts_is_the_only_limit(clock: Clock) -> None:
    timeout = GetTimeout(max_time=None, has_attempts=True, clock=clock)
    timeout.exceeded([FAILED_ONCE])
    clock.now += 3600
    assert timeout.exceeded([FAILED_ONCE]) == {}


def test_max_time_ends_downloads_that_have_bytes_too(clock: Clock) -> None:
    timeout = GetTimeout(max_time=30, has_attempts=False, clock=clock)
    assert timeout.exceeded([seen_as(S.DOWNLOADING, 5)]) == {}
    clock.now += 30
    assert "--max-time" in timeout.exceeded([seen_as(S.DOWNLOADING, 9)])["j"]
    assert timeout.exceeded([seen_as(S.COMPLETED), seen_as(S.PAUSED)]) == {}


GET = ["get", "http://a/b c", "-o", "x"]


@pytest.mark.parametrize(
    ("changes", "is_local", "expected"),
    [
        ({"status": S.COMPLETED}, True, None),
        ({"status": S.CANCELLED}, True, None),
        ({"status": S.PAUSED}, True, "seen get 'http://a/b c' -o x"),
        ({"status": S.PAUSED}, False, "seen resume j"),
        ({"status": S.DOWNLOADING}, False, "seen watch j"),
        ({"status": S.FAILED, "attempts": 1}, True, None),
        (
            {"status": S.FAILED, "attempts": 3},
            True,
            "seen retry j && seen get 'http://a/b c' -o x",
        ),
        ({"status": S.FAILED, "attempts": 3}, False, "seen retry j"),
    ],
)
def test_command_by_which_a_download_goes_on(
    changes: dict[str, Any], is_local: bool, expected: str | None
) -> None:
    job = replace(new_job(), id="j", max_attempts=3, **changes)
    assert resume_command(job, GET, is_local=is_local) == expected


@pytest.mark.parametrize("secret", ["-uada:p", "--header=X: k", "http://a/?token=t"])
def test_secrets_are_not_repeated(secret: str) -> None:
    job = replace(new_job(), id="j", status=S.PAUSED)
    assert secret not in (resume_command(job, ["get", secret], is_local=True) or "")


@pytest.mark.parametrize(
    ("arguments", "kept"),
    [
        (["get", "http://a/1", "http://a/2"], ["get", "http://a/2"]),
        (
            ["get", "-o", "x", "HTTP://A:80/1", "-q", "http://a/2"],
            ["get", "-o", "x", "-q", "http://a/2"],
        ),
        (["get", "http://a/1", "http://a/1", "http://a/3"], ["get", "http://a/3"]),
        (
            ["get", "--mirror", "http://a/1", "http://a/3"],
            ["get", "--mirror", "http://a/1", "http://a/3"],
        ),
        (["get", "http://a/2", "http://a/4", "http://a/5"], ["get", "http://a/2", "http://a/4"]),
    ],
)
def test_finished_urls_are_left_out_of_the_command(arguments: list[str], kept: list[str]) -> None:
    states: dict[str, dict[str, Any]] = {
        "1": {"status": S.COMPLETED},
        "2": {"status": S.PAUSED},
        "4": {"status": S.FAILED, "attempts": 3},
        "5": {"status": S.FAILED, "attempts": 1},
    }
    views = [
        JobView.merge(replace(new_job(), url=f"http://a/{name}", max_attempts=3, **changes), None)
        for name, changes in states.items()
    ]
    assert unfinished(arguments, views) == kept
