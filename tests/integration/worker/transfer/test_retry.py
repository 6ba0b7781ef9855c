"""What is tried again, when, and how often; and how an origin's Retry-After is honored."""

from __future__ import annotations

from datetime import timedelta
from email.utils import format_datetime

import pytest

from domain.job import JobStatus
from tests.support.origins import misbehaviour as does
from tests.support.origins.origin import Origin
from tests.support.services.transferring import Downloads

S = JobStatus
SIZE = 300_000
#: `tests.support.services.system.FAST` says how long a wait may be at most, in seconds.
LONGEST = 2.0


def test_a_short_storm_is_weathered_inside_one_attempt(
    persistent: Downloads, origin: Origin
) -> None:
    file = origin.serve("/a.bin", size=SIZE, statuses=[503, 502, 500])

    job = persistent.run(file.url)

    assert (job.status, job.sha256, job.attempts) == (S.COMPLETED, file.sha256, 1)
    assert len(origin.requests) == 4


def test_a_long_storm_waits_in_the_database(persistent: Downloads, origin: Origin) -> None:
    job = persistent.run(origin.serve("/a.bin", size=SIZE, status=503).url)

    assert (job.status, job.error_code, job.attempts) == (S.WAITING, "http_503", 1)
    assert len(origin.requests) == 4  # the first, and three more


def test_progress_fills_the_budget_up_again(persistent: Downloads, origin: Origin) -> None:
    """Thirty answers that break off: more failures than any budget, and never two without a byte."""
    file = origin.serve("/a.bin", size=SIZE, respond=does.resets_every(10_000))

    job = persistent.run(file.url)

    assert (job.status, job.sha256, job.attempts) == (S.COMPLETED, file.sha256, 1)
    # A reset may come before the bytes that went ahead of it have been read.
    assert len(origin.requests) >= SIZE // 10_000


ASKED = {
    "seconds": "1",
    "more than we wait": "3600",
    "absurd": "9" * 400,
    "none": "0",
    "a fraction": "1.5",
    "negative": "-5",
    "words": "tomorrow, perhaps",
    "a date long past": "Wed, 21 Oct 2015 07:28:00 GMT",
    "a date in the year 9999": "Fri, 31 Dec 9999 23:59:59 GMT",
    "no date": "Wed, 99 Oct 2015 07:28:00 GMT",
    "nothing": "",
}


@pytest.mark.parametrize("said", ASKED.values(), ids=ASKED)
@pytest.mark.parametrize("status", [429, 503])
def test_whatever_retry_after_says_the_wait_is_bounded(
    downloads: Downloads, origin: Origin, said: str, status: int
) -> None:
    file = origin.serve("/a.bin", size=SIZE, statuses=[status], retry_after=said)

    job = downloads.run(file.url)

    assert (job.status, job.error_code) == (S.WAITING, f"http_{status}")
    assert job.next_attempt_at is not None
    wait = job.next_attempt_at - job.updated_at
    assert timedelta(0) < wait <= timedelta(seconds=LONGEST)
    assert downloads.run_again(job).sha256 == file.sha256


def test_retry_after_is_waited_for(downloads: Downloads, origin: Origin) -> None:
    """Without it the first wait is half a second at most."""
    later = format_datetime(downloads.runtime.now() + timedelta(seconds=3600), usegmt=True)
    for said in ("3600", later):
        file = origin.serve("/a.bin", size=SIZE, statuses=[429], retry_after=said)
        job = downloads.run(file.url)
        assert job.next_attempt_at is not None
        wait = job.next_attempt_at - job.updated_at
        assert timedelta(seconds=0.9 * LONGEST) < wait <= timedelta(seconds=LONGEST)
        downloads.run_again(job)


def test_a_host_that_asked_to_be_left_alone_is_left_alone_by_all(
    downloads: Downloads, origin: Origin
) -> None:
    first = origin.serve("/a.bin", size=SIZE, statuses=[429], retry_after="3600")
    second = origin.serve("/b.bin", size=SIZE)
    downloads.run(first.url)

    job = downloads.run(second.url)

    assert (job.status, job.error_code, job.attempts) == (S.WAITING, "host_cooling", 0)
    assert origin.requests_for("/b.bin") == []
    assert downloads.run_again(job).sha256 == second.sha256


TRANSIENT = [408, 425, 429, 500, 502, 503, 504, 507, 520, 599]
PERMANENT = [400, 401, 402, 403, 404, 405, 406, 410, 451, 501, 505]


@pytest.mark.parametrize("status", [*TRANSIENT, *PERMANENT])
def test_a_status_and_what_follows(persistent: Downloads, origin: Origin, status: int) -> None:
    job = persistent.run(origin.serve("/a.bin", size=SIZE, status=status).url)

    assert job.error_code == f"http_{status}"
    assert job.status is (S.WAITING if status in TRANSIENT else S.FAILED)
    # Some origins give these to a request without a range only.
    asked_twice = status in {400, 403, 406}
    assert len(origin.requests) == (4 if status in TRANSIENT else 1 + asked_twice)


def test_a_port_without_a_listener(downloads: Downloads, free_port: int) -> None:
    job = downloads.run(f"http://127.0.0.1:{free_port}/a.bin")
    assert (job.status, job.error_code) == (S.WAITING, "connect")


BROKEN = {
    "truncated": ({"truncate_after": 100_000}, "truncated"),
    "reset": ({"reset_after": 100_000}, "reset"),
    "reset before the first byte": ({"reset_after": 0}, "reset"),
    "chunks without an end": ({"truncate_after": 100_000, "chunked": True}, "truncated"),
}


@pytest.mark.parametrize(("behaviour", "code"), BROKEN.values(), ids=BROKEN)
def test_a_body_that_breaks_off_is_no_file(
    downloads: Downloads, origin: Origin, behaviour: dict[str, object], code: str
) -> None:
    job = downloads.run(origin.serve("/a.bin", size=SIZE, **behaviour).url)  # type: ignore[arg-type]

    assert (job.status, job.error_code) == (S.WAITING, code)
    assert downloads.published() == []
