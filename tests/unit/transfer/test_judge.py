"""Line by line: what an answer means for the file that was begun."""

from __future__ import annotations

from email.utils import formatdate

import pytest

from domain.errors import PermanentError, TransientError
from worker.storage.checkpoint import Checkpoint
from worker.transfer.http.curl_options import Request
from worker.transfer.http.request_adaptation import Adaptation
from worker.transfer.http.response import Answer
from worker.transfer.response_rules import Ruling, judge

R = Ruling
OLD, NEW = formatdate(1_000_000_000, usegmt=True), formatdate(1_100_000_000, usegmt=True)
BEGUN = Checkpoint(total=1000, validator='"a"', etag='"a"', last_modified=OLD, date=OLD)
BY_DATE = Checkpoint(total=1000, validator=OLD, last_modified=OLD, date=OLD)
ENDLESS = Checkpoint(validator='"a"', etag='"a"')
WHOLE = Request(url="http://a/")
REST = Request(url="http://a/", first=400, last=999, condition='"a"')
OPEN = Request(url="http://a/", first=400, condition='"a"')


def answer(status: int, **fields: str) -> Answer:
    headers = {name.replace("_", "-"): value for name, value in fields.items()}
    return Answer(status, {"date": NEW, **headers})


def part(span: str = "400-999/1000", etag: str | None = '"a"', **fields: str) -> Answer:
    tag = {} if etag is None else {"etag": etag}
    return answer(206, content_range=f"bytes {span}", **tag, **fields)


@pytest.mark.parametrize(
    ("request_", "begun", "given", "ruling"),
    [
        # the whole file was asked for
        (WHOLE, Checkpoint(), answer(200), R.WHOLE),
        (WHOLE, Checkpoint(), answer(200, content_length="5"), R.WHOLE),
        (WHOLE, Checkpoint(), answer(206, content_range="bytes 0-9/10"), R.WHOLE),
        (WHOLE, Checkpoint(), answer(302, location="/b"), R.ELSEWHERE),
        (WHOLE, Checkpoint(), answer(300, location="/b"), R.ELSEWHERE),
        (WHOLE, Checkpoint(), answer(310, location="/b"), R.ELSEWHERE),
        # a part of it
        (REST, BEGUN, part(), R.PART),
        (REST, BEGUN, part(etag=None), R.PART),
        (REST, BEGUN, part("400-599/1000"), R.PART),
        (REST, BEGUN, part("400-999/*"), R.PART),
        (REST, BEGUN, part(last_modified=OLD), R.PART),
        (REST, BEGUN, answer(307, location="http://b/"), R.ELSEWHERE),
        (OPEN, ENDLESS, part("400-999/1000"), R.PART),
        (OPEN, ENDLESS, part("400-999/*"), R.PART),
        # … which is not the one
        (REST, BEGUN, part("399-999/1000"), R.NO_RANGES),
        (REST, BEGUN, part("401-999/1000"), R.NO_RANGES),
        (Request(url="http://a/", first=400, last=499), BEGUN, part("400-999/1000"), R.NO_RANGES),
        (REST, BEGUN, answer(206), R.NO_RANGES),
        (REST, BEGUN, answer(206, content_range="items 400-999/1000"), R.NO_RANGES),
        (REST, BEGUN, answer(206, content_range="bytes 999-400/1000"), R.NO_RANGES),
        (REST, BEGUN, answer(206, content_type="multipart/byteranges"), R.NO_RANGES),
        # … or of another file
        (REST, BEGUN, part("400-998/999"), R.CHANGED),
        (REST, BEGUN, part(etag='"b"'), R.CHANGED),
        (REST, BEGUN, part(etag='W/"a"'), R.CHANGED),
        (REST, BEGUN, part(last_modified=NEW), R.CHANGED),
        (REST, BEGUN, part(content_encoding="gzip"), R.CHANGED),
        # a range was asked for, and all of it comes
        (REST, BEGUN, answer(200, etag='"b"'), R.CHANGED),
        (REST, BEGUN, answer(200, etag='"a"', content_length="999"), R.CHANGED),
        (REST, BEGUN, answer(200, etag='"a"', content_encoding="gzip"), R.CHANGED),
        (REST, BEGUN, answer(200, last_modified=NEW), R.CHANGED),
        (REST, BEGUN, answer(200, etag='"a"', content_length="1000"), R.BY_DATE),
        (REST, BEGUN, answer(200, etag='"a"', last_modified=OLD), R.BY_DATE),
        (REST, BEGUN, answer(200), R.NO_RANGES),
        (OPEN, ENDLESS, answer(200, etag='"a"'), R.NO_RANGES),
        (
            Request(url="http://a/", first=400, last=999, condition=OLD),
            BEGUN,
            answer(200, etag='"a"', last_modified=OLD),
            R.NO_RANGES,
        ),
        (
            Request(url="http://a/", first=400, last=999, condition=OLD),
            BY_DATE,
            answer(200, last_modified=OLD),
            R.NO_RANGES,
        ),
        # there is nothing where we stopped
        (OPEN, ENDLESS, answer(416, content_range="bytes */400"), R.COMPLETE),
        (OPEN, ENDLESS, answer(416, content_range="bytes */399"), R.CHANGED),
        (OPEN, ENDLESS, answer(416, content_range="bytes */400", etag='"a"'), R.COMPLETE),
        (OPEN, ENDLESS, answer(416, content_range="bytes */400", etag='"b"'), R.CHANGED),
        (OPEN, ENDLESS, answer(416), R.CHANGED),
        (REST, BEGUN, answer(416, content_range="bytes */400"), R.CHANGED),
        (REST, BEGUN, answer(416, content_range="bytes */1000"), R.CHANGED),
    ],
)
def test_a_ruling(request_: Request, begun: Checkpoint, given: Answer, ruling: Ruling) -> None:
    assert judge(request_, given, begun).ruling is ruling


@pytest.mark.parametrize(
    ("given", "ruling"),
    [
        (part(), R.PART),
        (part(etag='"other"', last_modified=OLD), R.PART),
        (part(etag=None, last_modified=OLD), R.PART),
        (part(etag=None), R.CHANGED),
        (part(etag='"other"'), R.CHANGED),
        (part(etag='W/"a"'), R.CHANGED),
        (part(etag='"other"', last_modified=NEW), R.CHANGED),
        (part("400-999/*"), R.CHANGED),
        (part("400-998/999"), R.CHANGED),
        (part(content_encoding="br"), R.CHANGED),
    ],
)
def test_a_mirror_has_to_say_that_its_file_is_the_same(given: Answer, ruling: Ruling) -> None:
    request = Request(url="http://b/", first=400, last=999)
    assert judge(request, given, BEGUN, is_mirror=True).ruling is ruling


def test_a_mirror_does_not_say_where_a_file_of_unknown_size_ends() -> None:
    given = answer(416, content_range="bytes */400", etag='"a"')
    assert judge(OPEN, given, ENDLESS, is_mirror=True).ruling is R.CHANGED


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
        judge(asked, answer(status), BEGUN)
    assert caught.value.code == f"http_{status}"  # type: ignore[attr-defined]


@pytest.mark.parametrize("status", [304, 305, 306])
def test_location_of_a_status_that_is_no_redirect_is_not_followed(status: int) -> None:
    with pytest.raises(PermanentError):
        judge(WHOLE, answer(status, location="/b"), Checkpoint())


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
        judge(WHOLE, answer(206, **fields), Checkpoint())


@pytest.mark.parametrize("fields", [{}, {"content_range": "bytes 0-9/*"}])
def test_unasked_part_of_unknown_length_is_the_file_and_promises_no_size(
    fields: dict[str, str],
) -> None:
    given = answer(206, content_length="10", etag='"a"', **fields)
    assert judge(WHOLE, given, Checkpoint()).ruling is R.WHOLE
    assert given.promised_size is None
    assert given.promised_end == 10


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
        assert judge(WHOLE, given, Checkpoint()).ruling is R.WHOLE
        return
    with pytest.raises((PermanentError, TransientError)) as caught:
        judge(WHOLE, given, Checkpoint())
    assert caught.value.code == f"http_{status}"


def test_whole_file_in_another_success_status_replaces_what_was_begun() -> None:
    assert judge(REST, answer(203, etag='"b"'), BEGUN).ruling is R.CHANGED
    assert judge(REST, answer(203), BEGUN).ruling is R.NO_RANGES


def test_empty_file_asked_for_as_a_range_is_complete() -> None:
    asked = Request(url="http://a/", adaptation=Adaptation(range_from_start=True))
    given = answer(416, content_range="bytes */0")
    assert judge(asked, given, Checkpoint()).ruling is R.COMPLETE
    with pytest.raises(PermanentError):
        judge(WHOLE, given, Checkpoint())
