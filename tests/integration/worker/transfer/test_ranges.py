"""Parallel ranges, from origins that send them, that only say so, and that send others.

The origin limits the rate of each connection; the file is large enough for a second connection.
"""

from __future__ import annotations

from typing import Any

import pytest

from domain.job import JobStatus
from tests.support.origins import misbehaviour as does
from tests.support.origins.behaviour import Fault, Plan, Request
from tests.support.origins.misbehaviour import Respond, for_ranges, when
from tests.support.origins.origin import Origin, ServedFile
from tests.support.services.transferring import Downloads
from tests.support.wait import wait_until

SIZE = 1_500_000
RATE = 1_000_000


def serve(origin: Origin, **behaviour: Any) -> ServedFile:
    return origin.serve("/a.bin", size=SIZE, bytes_per_second=RATE, **behaviour)


def test_a_large_file_comes_over_several_connections_and_no_byte_twice(
    downloads: Downloads, origin: Origin
) -> None:
    file = serve(origin)

    job = downloads.run(file.url)

    assert (job.status, job.sha256) == (JobStatus.COMPLETED, file.sha256)
    assert 2 <= origin.max_concurrent("/a.bin") <= 4
    first, *others = origin.requests_for("/a.bin")
    assert (first.range, first.status) == (None, 200)
    assert {one.status for one in others} == {206}
    assert {one.headers["if-range"] for one in others} == {file.etag}
    # What is on its way when a connection's piece is cut short is all that may come twice.
    assert origin.bytes_sent_twice("/a.bin") < SIZE // 4


WRONG_RANGES = {
    "a later start, as it says": does.shifted_range(1),
    "another start": does.content_range(
        lambda first, last, total: f"bytes {first + 1}-{last}/{total}"
    ),
    "an earlier start": does.content_range(lambda first, last, total: f"bytes 0-{last}/{total}"),
    "a later end": does.content_range(
        lambda first, last, total: f"bytes {first}-{last + 1}/{total}"
    ),
    "an end beyond the total": does.content_range(
        lambda first, last, total: f"bytes {first}-{total}/{total}"
    ),
    "no Content-Range": does.content_range(None),
    "another unit": does.content_range(lambda first, last, total: f"lines {first}-{last}/{total}"),
    "nonsense": does.content_range(lambda first, last, total: f"bytes -{first}--{last}/x"),
    "several parts": does.several_parts(),
}


@pytest.mark.parametrize("respond", WRONG_RANGES.values(), ids=WRONG_RANGES)
def test_a_range_that_was_not_asked_for_is_not_joined(
    downloads: Downloads, origin: Origin, respond: Respond
) -> None:
    """The running connection continues to the end of the file alone."""
    file = serve(origin, respond=respond)

    job = downloads.run(file.url)

    assert (job.status, job.sha256) == (JobStatus.COMPLETED, file.sha256)
    whole = origin.requests_for("/a.bin")[0]
    assert (whole.range, whole.bytes_sent) == (None, SIZE)
    assert len(origin.requests_for("/a.bin")) <= 4  # those that were opened together


LIES = {
    "says bytes and sends all": for_ranges(lambda _, plan: does.whole(plan)),
    "says none and sends ranges": does.says_ranges("none"),
    "says nothing": does.says_ranges(None),
    "does not know ranges": does.then(
        for_ranges(lambda _, plan: does.whole(plan)), does.says_ranges("none")
    ),
    "speaks HTTP/1.0": does.old_version(),
    "refuses ranges with 403": for_ranges(does.status(403)),
    "refuses ranges with 404": for_ranges(does.status(404)),
    "refuses ranges with 501": for_ranges(does.status(501)),
    "refuses ranges with 503": for_ranges(does.status(503)),
    "closes at ranges": for_ranges(does.nothing()),
    "answers ranges with garbage": for_ranges(does.garbage()),
    "says that ranges lie behind the end": does.unsatisfiable(f"bytes */{SIZE}"),
    "says that ranges lie behind another end": does.unsatisfiable("bytes */10"),
    "416 without Content-Range": does.unsatisfiable(None),
}


@pytest.mark.parametrize("respond", LIES.values(), ids=LIES)
def test_an_origin_whose_ranges_are_of_no_use_is_read_in_one_stream(
    downloads: Downloads, origin: Origin, respond: Respond
) -> None:
    file = serve(origin, respond=respond)

    job = downloads.run(file.url)

    assert (job.status, job.sha256, job.error_code) == (JobStatus.COMPLETED, file.sha256, None)
    assert origin.requests_for("/a.bin")[0].range is None
    assert len(origin.requests_for("/a.bin")) <= 6, "the origin was asked over and over"


@pytest.mark.parametrize("limit", [1, 2])
@pytest.mark.parametrize("status", [503, 429, None], ids=str)
def test_an_origin_that_takes_few_connections_gets_no_more(
    downloads: Downloads, origin: Origin, limit: int, status: int | None
) -> None:
    file = serve(origin, respond=does.at_most(limit, status))

    job = downloads.run(file.url)

    assert (job.status, job.sha256) == (JobStatus.COMPLETED, file.sha256)
    refused = [one for one in origin.requests_for("/a.bin") if one.bytes_sent < 100]
    assert len(refused) <= 3  # those that were opened together


def test_a_connection_over_the_limit_with_retry_after_costs_nothing(
    downloads: Downloads, origin: Origin
) -> None:
    def busy(request: Request, plan: Plan) -> Plan:
        if request.others:
            plan = does.status(429)(request, plan)
            plan.headers["Retry-After"] = "3600"
        return plan

    file = serve(origin, respond=busy)

    job = downloads.run(file.url)

    assert (job.status, job.sha256) == (JobStatus.COMPLETED, file.sha256)


def second(step: Respond) -> Respond:
    return when(lambda request: request.number == 2, step)


def hang(_request: Request, plan: Plan) -> Plan:
    plan.fault = Fault("hang", plan.length // 3)
    return plan


FAILING = {
    "hangs in its body": second(hang),
    "hangs in its header": second(does.stops_in_header(20)),
    "hangs before its header": second(does.stops_in_header(0)),
    "ends early, as it says": second(does.shorter_than_its_range(50_000)),
    "every answer is reset": does.resets_every(200_000),
    "every range is a bit short": does.shorter_than_its_range(10_000),
}


@pytest.mark.parametrize("respond", FAILING.values(), ids=FAILING)
def test_what_one_connection_fails_to_bring_another_one_does(
    persistent: Downloads, origin: Origin, respond: Respond
) -> None:
    file = serve(origin, respond=respond)

    job = persistent.run(file.url)

    assert (job.status, job.sha256, job.attempts) == (JobStatus.COMPLETED, file.sha256, 1)
    assert origin.requests_for("/a.bin")[0].range is None
    assert sum(one.range is None for one in origin.requests_for("/a.bin")) == 1


def test_a_range_that_goes_on_after_its_end_is_cut_off(
    downloads: Downloads, origin: Origin
) -> None:
    """Its last byte is known, and what follows it is of no interest, or an error: never written."""
    file = serve(origin, respond=does.longer_than_its_range(300_000))

    job = downloads.run(file.url)

    if job.status is not JobStatus.COMPLETED:
        assert (job.status, job.error_code) == (JobStatus.WAITING, "too_long")
    else:
        assert job.sha256 == file.sha256


def test_ranges_of_another_total_are_of_another_file(downloads: Downloads, origin: Origin) -> None:
    said = does.content_range(lambda first, last, total: f"bytes {first}-{last}/{total + 1}")
    file = serve(origin, respond=said)

    job = downloads.run(file.url)

    if job.status is not JobStatus.COMPLETED:
        assert (job.status, job.error_code) == (JobStatus.WAITING, "bad_range")
    else:
        assert job.sha256 == file.sha256


@pytest.mark.parametrize("size", [None, SIZE - 1, SIZE + 400_000])
def test_a_file_that_changes_between_two_connections_restarts(
    downloads: Downloads, origin: Origin, size: int | None
) -> None:
    file = serve(origin, respond=does.changes_after(1, size=size))
    changed = does.changed_file(file, size=size)

    job = downloads.run(file.url)

    assert (job.status, job.sha256) == (JobStatus.COMPLETED, changed.sha256)


def test_a_file_that_is_another_one_with_every_request_is_never_put_together(
    downloads: Downloads, origin: Origin
) -> None:
    def respond(request: Request, plan: Plan) -> Plan:
        return does.changes_after(0, seed=str(request.number))(request, plan)

    file = serve(origin, respond=respond)

    job = downloads.run(file.url)

    requests = origin.requests
    assert requests[-1].range is None, "one answer makes one file"
    last = does.changed_file(file, seed=str(len(requests)))
    assert (job.status, job.sha256) == (JobStatus.COMPLETED, last.sha256)


UNASKED = {
    "all of it": (0, SIZE - 1, None),
    "its beginning": (0, 999, "bad_range"),
    "its end": (5, SIZE - 1, "bad_range"),
}


@pytest.mark.parametrize(("first", "last", "code"), UNASKED.values(), ids=UNASKED)
def test_a_part_that_was_not_requested_is_not_joined(
    downloads: Downloads, origin: Origin, first: int, last: int, code: str | None
) -> None:
    file = serve(origin, respond=does.part_unasked(first, last))

    job = downloads.run(file.url)

    assert job.error_code == code
    assert job.sha256 == (file.sha256 if code is None else None)


def test_a_weak_validator_joins_nothing(downloads: Downloads, origin: Origin) -> None:
    file = serve(origin, etag='W/"1"')

    job = downloads.run(file.url)

    assert (job.sha256, len(origin.requests_for("/a.bin"))) == (file.sha256, 1)


def test_one_connection_that_crawls_gives_its_piece_to_another(
    downloads: Downloads, origin: Origin
) -> None:
    """One connection gets a crawling answer; at its rate the file would take minutes."""
    file = origin.serve("/a.bin", size=6_000_000, bytes_per_second=4_000_000)

    def crawl(request: Request, plan: Plan) -> Plan:
        if request.number == 2:
            plan.bytes_per_second = 4_000
        return plan

    file.behave(respond=crawl)

    job = downloads.run(file.url)

    assert (job.status, job.sha256) == (JobStatus.COMPLETED, file.sha256)
    slow = origin.requests_for("/a.bin")[1]
    wait_until(lambda: origin.requests_for("/a.bin")[1].ended is not None)
    assert slow.bytes_sent < 100_000
