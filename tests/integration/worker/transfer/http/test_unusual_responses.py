"""Answers that are unusual and still bring the file, as other downloaders take them."""

from __future__ import annotations

from typing import Any

import pytest

from domain.job import JobStatus
from tests.support.origins.behaviour import Plan, Request, plan_error
from tests.support.origins.content import BytesContent
from tests.support.origins.misbehaviour import Respond
from tests.support.origins.origin import Origin
from tests.support.services.transferring import Direct, Downloads

S = JobStatus
BODY = b"0123456789" * 1000


def answers(status: int, **fields: str) -> Respond:
    """Send the planned answer under another status, with fields added; an empty one is left out."""

    def respond(_request: Request, plan: Plan) -> Plan:
        plan.status = status
        changed = plan.headers | {name.replace("_", "-"): text for name, text in fields.items()}
        plan.headers = {name: text for name, text in changed.items() if text}
        return plan

    return respond


@pytest.mark.parametrize("status", [200, 201, 203, 207, 208, 226, 250, 299])
def test_success_with_content_is_stored(downloads: Downloads, origin: Origin, status: int) -> None:
    file = origin.serve("/a.bin", body=BODY, respond=answers(status))
    job = downloads.run(file.url)
    assert (job.status, job.sha256) == (S.COMPLETED, file.sha256)


@pytest.mark.parametrize("status", [201, 299])
@pytest.mark.parametrize("framing", [{}, {"chunked": True}, {"send_length": False}], ids=str)
def test_other_success_without_content_fails(
    downloads: Downloads, origin: Origin, status: int, framing: dict[str, Any]
) -> None:
    file = origin.serve("/a.bin", body=b"", respond=answers(status), **framing)
    job = downloads.run(file.url)
    assert (job.status, job.error_code) == (S.FAILED, f"http_{status}")
    assert "no content" in (job.reason or "")


def test_file_that_is_being_prepared_is_waited_for(downloads: Downloads, origin: Origin) -> None:
    file = origin.serve("/a.bin", body=BODY, statuses=[202])
    job = downloads.run(file.url, attempts=2)
    assert (job.status, job.attempts) == (S.COMPLETED, 2)


def test_choice_with_a_location_is_followed(downloads: Downloads, origin: Origin) -> None:
    file = origin.serve("/a.bin", body=BODY)
    link = origin.serve("/link", body=b"", redirect="/a.bin", status=300)
    assert downloads.run(link.url).sha256 == file.sha256


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"Content_Range": f"bytes 0-{len(BODY) - 1}/*"},
        {"Content_Length": "", "Connection": "x"},
    ],
    ids=["no Content-Range", "unknown total", "no length either"],
)
def test_a_part_that_was_not_requested_is_stored_and_never_joined(
    downloads: Downloads, origin: Origin, fields: dict[str, str]
) -> None:
    length: dict[str, Any] = {"send_length": False} if "Connection" in fields else {}
    file = origin.serve("/a.bin", body=BODY, respond=answers(206, **fields), **length)
    job = downloads.run(file.url)
    assert (job.status, job.sha256) == (S.COMPLETED, file.sha256)
    assert len(origin.requests) == 1


def test_part_of_unknown_length_that_breaks_off_is_fetched_from_the_start(
    downloads: Downloads, origin: Origin
) -> None:
    file = origin.serve("/a.bin", body=BODY, respond=answers(206), truncate_after=5000, faults=1)
    job = downloads.run(file.url, attempts=3)
    assert (job.status, job.sha256) == (S.COMPLETED, file.sha256)
    assert [one.range for one in origin.requests] == [None, None]


def test_part_with_a_range_and_an_unknown_total_ends_where_it_says(
    direct: Direct, origin: Origin
) -> None:
    fields = answers(206, Content_Range=f"bytes 0-{len(BODY) + 9}/*")
    file = origin.serve("/a.bin", body=BODY, respond=fields, send_length=False)
    assert direct.failure(file.url) == "truncated"


@pytest.mark.parametrize("status", [400, 403, 406, 412, 416])
@pytest.mark.parametrize("size", [0, 10_000, 1_000_000])
def test_origin_that_serves_ranges_only_is_asked_for_one(
    direct: Direct, origin: Origin, status: int, size: int
) -> None:
    def respond(request: Request, plan: Plan) -> Plan:
        return plan if "range" in request.headers else plan_error(status)

    file = origin.serve("/a.bin", body=b"x" * size, respond=respond)
    direct.fetch(file.url)
    assert direct.data == b"x" * size
    assert [one.range for one in origin.requests][:2] == [None, (0, None)]


def test_origin_that_refuses_the_range_as_well_is_asked_twice(
    direct: Direct, origin: Origin
) -> None:
    file = origin.serve("/a.bin", body=BODY, status=403)
    assert direct.failure(file.url) == "http_403"
    assert [one.range for one in origin.requests] == [None, (0, None)]


def test_whole_file_in_answer_to_a_range_may_have_another_success_status(
    direct: Direct, origin: Origin
) -> None:
    content = BytesContent(BODY * 2)

    def respond(request: Request, plan: Plan) -> Plan:
        if "range" not in request.headers:
            return plan
        return Plan(203, {"Content-Length": str(content.size)}, content, 0, content.size)

    file = origin.serve("/a.bin", body=BODY, respond=respond, truncate_after=5000, faults=1)
    assert direct.failure(file.url) == "truncated"
    direct.fetch(file.url)
    assert direct.data == BODY * 2
