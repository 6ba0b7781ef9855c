"""What each response means for a file that is partly downloaded."""

from __future__ import annotations

from email.utils import formatdate

import pytest

from domain.errors import PermanentError, TransientError
from worker.storage.destination import Checkpoint
from worker.transfer.http.request import Adaptation, Request
from worker.transfer.http.response import Response
from worker.transfer.response_rules import Decision, classify_response

D = Decision
OLD, NEW = formatdate(1_000_000_000, usegmt=True), formatdate(1_100_000_000, usegmt=True)
BEGUN = Checkpoint(total=1000, validator='"a"', etag='"a"', last_modified=OLD, date=OLD)
BY_DATE = Checkpoint(total=1000, validator=OLD, last_modified=OLD, date=OLD)
ENDLESS = Checkpoint(validator='"a"', etag='"a"')
WHOLE = Request(url="http://a/")
REST = Request(url="http://a/", first=400, last=999, if_range='"a"')
OPEN = Request(url="http://a/", first=400, if_range='"a"')


def answer(status: int, **fields: str) -> Response:
    headers = {name.replace("_", "-"): value for name, value in fields.items()}
    return Response(status, {"date": NEW, **headers})


def part(span: str = "400-999/1000", etag: str | None = '"a"', **fields: str) -> Response:
    tag = {} if etag is None else {"etag": etag}
    return answer(206, content_range=f"bytes {span}", **tag, **fields)


@pytest.mark.parametrize(
    ("request_", "checkpoint", "given", "decision"),
    [
        # the whole file was asked for
        (WHOLE, Checkpoint(), answer(200), D.FULL_BODY),
        (WHOLE, Checkpoint(), answer(200, content_length="5"), D.FULL_BODY),
        (WHOLE, Checkpoint(), answer(206, content_range="bytes 0-9/10"), D.FULL_BODY),
        (WHOLE, Checkpoint(), answer(302, location="/b"), D.REDIRECT),
        (WHOLE, Checkpoint(), answer(300, location="/b"), D.REDIRECT),
        (WHOLE, Checkpoint(), answer(310, location="/b"), D.REDIRECT),
        # a part of it
        (REST, BEGUN, part(), D.REQUESTED_RANGE),
        (REST, BEGUN, part(etag=None), D.REQUESTED_RANGE),
        (REST, BEGUN, part("400-599/1000"), D.REQUESTED_RANGE),
        (REST, BEGUN, part("400-999/*"), D.REQUESTED_RANGE),
        (REST, BEGUN, part(last_modified=OLD), D.REQUESTED_RANGE),
        (REST, BEGUN, answer(307, location="http://b/"), D.REDIRECT),
        (OPEN, ENDLESS, part("400-999/1000"), D.REQUESTED_RANGE),
        (OPEN, ENDLESS, part("400-999/*"), D.REQUESTED_RANGE),
        # … which is not the one
        (REST, BEGUN, part("399-999/1000"), D.RANGE_IGNORED),
        (REST, BEGUN, part("401-999/1000"), D.RANGE_IGNORED),
        (
            Request(url="http://a/", first=400, last=499),
            BEGUN,
            part("400-999/1000"),
            D.RANGE_IGNORED,
        ),
        (REST, BEGUN, answer(206), D.RANGE_IGNORED),
        (REST, BEGUN, answer(206, content_range="items 400-999/1000"), D.RANGE_IGNORED),
        (REST, BEGUN, answer(206, content_range="bytes 999-400/1000"), D.RANGE_IGNORED),
        (REST, BEGUN, answer(206, content_type="multipart/byteranges"), D.RANGE_IGNORED),
        # … or of another file
        (REST, BEGUN, part("400-998/999"), D.RESOURCE_CHANGED),
        (REST, BEGUN, part(etag='"b"'), D.RESOURCE_CHANGED),
        (REST, BEGUN, part(etag='W/"a"'), D.RESOURCE_CHANGED),
        (REST, BEGUN, part(last_modified=NEW), D.RESOURCE_CHANGED),
        (REST, BEGUN, part(content_encoding="gzip"), D.RESOURCE_CHANGED),
        # a range was asked for, and all of it comes
        (REST, BEGUN, answer(200, etag='"b"'), D.RESOURCE_CHANGED),
        (REST, BEGUN, answer(200, etag='"a"', content_length="999"), D.RESOURCE_CHANGED),
        (REST, BEGUN, answer(200, etag='"a"', content_encoding="gzip"), D.RESOURCE_CHANGED),
        (REST, BEGUN, answer(200, last_modified=NEW), D.RESOURCE_CHANGED),
        (REST, BEGUN, answer(200, etag='"a"', content_length="1000"), D.RETRY_WITH_DATE),
        (REST, BEGUN, answer(200, etag='"a"', last_modified=OLD), D.RETRY_WITH_DATE),
        (REST, BEGUN, answer(200), D.RANGE_IGNORED),
        (OPEN, ENDLESS, answer(200, etag='"a"'), D.RANGE_IGNORED),
        (
            Request(url="http://a/", first=400, last=999, if_range=OLD),
            BEGUN,
            answer(200, etag='"a"', last_modified=OLD),
            D.RANGE_IGNORED,
        ),
        (
            Request(url="http://a/", first=400, last=999, if_range=OLD),
            BY_DATE,
            answer(200, last_modified=OLD),
            D.RANGE_IGNORED,
        ),
        # there is nothing where we stopped
        (OPEN, ENDLESS, answer(416, content_range="bytes */400"), D.COMPLETE),
        (OPEN, ENDLESS, answer(416, content_range="bytes */399"), D.RESOURCE_CHANGED),
        (OPEN, ENDLESS, answer(416, content_range="bytes */400", etag='"a"'), D.COMPLETE),
        (OPEN, ENDLESS, answer(416, content_range="bytes */400", etag='"b"'), D.RESOURCE_CHANGED),
        (OPEN, ENDLESS, answer(416), D.RESOURCE_CHANGED),
        (REST, BEGUN, answer(416, content_range="bytes */400"), D.RESOURCE_CHANGED),
        (REST, BEGUN, answer(416, content_range="bytes */1000"), D.RESOURCE_CHANGED),
    ],
)
def test_a_ruling(
    request_: Request, checkpoint: Checkpoint, given: Response, decision: Decision
) -> None:
    assert classify_response(request_, given, checkpoint).decision is decision


@pytest.mark.parametrize(
    ("given", "decision"),
    [
        (part(), D.REQUESTED_RANGE),
        (part(etag='"other"', last_modified=OLD), D.REQUESTED_RANGE),
        (part(etag=None, last_modified=OLD), D.REQUESTED_RANGE),
        (part(etag=None), D.RESOURCE_CHANGED),
        (part(etag='"other"'), D.RESOURCE_CHANGED),
        (part(etag='W/"a"'), D.RESOURCE_CHANGED),
        (part(etag='"other"', last_modified=NEW), D.RESOURCE_CHANGED),
        (part("400-999/*"), D.RESOURCE_CHANGED),
        (part("400-998/999"), D.RESOURCE_CHANGED),
        (part(content_encoding="br"), D.RESOURCE_CHANGED),
    ],
)
def test_a_mirror_has_to_say_that_its_file_is_the_same(given: Response, decision: Decision) -> None:
    request = Request(url="http://b/", first=400, last=999)
    assert classify_response(request, given, BEGUN, is_mirror=True).decision is decision


def test_a_mirror_does_not_say_where_a_file_of_unknown_size_ends() -> None:
    given = answer(416, content_range="bytes */400", etag='"a"')
    assert classify_response(OPEN, given, ENDLESS, is_mirror=True).decision is D.RESOURCE_CHANGED


@pytest.mark.parametrize("asked", [WHOLE, REST])
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (204, PermanentError),
        (300, PermanentError),
        (301, PermanentError),  # without a Location
        (304, PermanentError),
        (305, PermanentError),
        (401, PermanentError),
        (403, PermanentError),
        (404, PermanentError),
        (410, PermanentError),
        (451, PermanentError),
        (202, TransientError),
        (408, TransientError),
        (425, TransientError),
        (429, TransientError),
        (500, TransientError),
        (503, TransientError),
    ],
)
def test_a_status_that_is_no_success_is_raised(
    asked: Request, status: int, kind: type[Exception]
) -> None:
    with pytest.raises(kind) as caught:
        classify_response(asked, answer(status), BEGUN)
    assert caught.value.code == f"http_{status}"  # type: ignore[attr-defined]


@pytest.mark.parametrize("status", [304, 305, 306])
def test_location_of_a_status_that_is_no_redirect_is_not_followed(status: int) -> None:
    with pytest.raises(PermanentError):
        classify_response(WHOLE, answer(status, location="/b"), Checkpoint())


@pytest.mark.parametrize(
    "fields",
    [
        {"content_range": "bytes 0-8/10"},
        {"content_range": "bytes 1-9/10"},
        {"content_range": "bytes 1-9/*"},
        {"content_range": "items 0-9/10"},
        {"content_range": "nonsense"},
        {"content_type": "multipart/byteranges; boundary=x"},
    ],
)
def test_unasked_part_that_is_not_all_of_the_file_is_refused(fields: dict[str, str]) -> None:
    with pytest.raises(PermanentError, match="a part of the file"):
        classify_response(WHOLE, answer(206, **fields), Checkpoint())


@pytest.mark.parametrize("fields", [{}, {"content_range": "bytes 0-9/*"}])
def test_unasked_part_of_unknown_length_is_the_file_and_promises_no_size(
    fields: dict[str, str],
) -> None:
    given = answer(206, content_length="10", etag='"a"', **fields)
    assert classify_response(WHOLE, given, Checkpoint()).decision is D.FULL_BODY
    assert given.resource_size is None
    assert given.body_end == 10


@pytest.mark.parametrize(
    ("status", "fields", "is_success"),
    [
        (200, {}, True),
        (200, {"content_length": "0"}, True),
        (203, {"content_length": "0"}, True),
        (203, {}, True),
        (201, {}, True),
        (201, {"content_length": "0"}, False),
        (207, {}, True),
        (208, {}, True),
        (226, {}, True),
        (226, {"im": "vcdiff"}, False),
        (299, {}, True),
        (299, {"content_length": "0"}, False),
        (202, {}, False),
        (204, {}, False),
        (205, {}, False),
    ],
)
def test_success_with_content_is_the_file(
    status: int, fields: dict[str, str], *, is_success: bool
) -> None:
    given = answer(status, **fields)
    given.has_content = fields.get("content_length") != "0"
    if is_success:
        assert classify_response(WHOLE, given, Checkpoint()).decision is D.FULL_BODY
        return
    with pytest.raises((PermanentError, TransientError)) as caught:
        classify_response(WHOLE, given, Checkpoint())
    assert caught.value.code == f"http_{status}"


def test_whole_file_in_another_success_status_replaces_the_part() -> None:
    assert classify_response(REST, answer(203, etag='"b"'), BEGUN).decision is D.RESOURCE_CHANGED
    assert classify_response(REST, answer(203), BEGUN).decision is D.RANGE_IGNORED


def test_empty_file_asked_for_as_a_range_is_complete() -> None:
    asked = Request(url="http://a/", adaptation=Adaptation(range_from_start=True))
    given = answer(416, content_range="bytes */0")
    assert classify_response(asked, given, Checkpoint()).decision is D.COMPLETE
    with pytest.raises(PermanentError):
        classify_response(WHOLE, given, Checkpoint())
