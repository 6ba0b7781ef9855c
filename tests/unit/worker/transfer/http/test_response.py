"""An origin's answer, read line by line as libcurl hands it out."""

from __future__ import annotations

import pytest

from worker.transfer.http.response import Response


def answer(*lines: str) -> Response:
    found = Response()
    for line in lines:
        found.feed(line.encode("latin-1") + b"\r\n")
    return found


def test_status_and_headers_are_kept() -> None:
    found = answer("HTTP/1.1 200 OK", 'ETag: "a"', "content-LENGTH:  12 ", "X: a: b", "")
    assert found.status == 200
    assert found.etag == '"a"'
    assert found.content_length == 12
    assert found.headers["x"] == "a: b"


def test_only_the_last_response_counts() -> None:
    found = answer(
        "HTTP/1.1 302 Found", "Location: /y", 'ETag: "old"', "", "HTTP/2 206", "x: 1", ""
    )
    assert found.status == 206
    assert found.headers == {"x": "1"}


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("HTTP/1.1 200 OK", 200),
        ("HTTP/1.1 200", 200),
        ("HTTP/2 503 ", 503),
        ("HTTP/1.1 abc", 0),
        ("HTTP/1.1", 0),
        ("HTTP/1.1 ²⁰⁰".encode().decode("latin-1"), 0),
    ],
)
def test_the_status_line(line: str, status: int) -> None:
    assert answer(line).status == status


def test_a_line_that_is_no_header_is_passed_over() -> None:
    assert answer("HTTP/1.1 200 OK", "nonsense").headers == {}


@pytest.mark.parametrize(
    ("headers", "length"),
    [
        (["Content-Length: 0"], 0),
        (["Content-Length: 9007199254740993"], 9007199254740993),
        (["Content-Length: -1"], None),
        (["Content-Length: 1e3"], None),
        (["Content-Length: \xb2"], None),
        (["Content-Length: " + "9" * 5000], None),
        (["Content-Length: 12", "Transfer-Encoding: chunked"], None),
        ([], None),
    ],
)
def test_the_promised_length(headers: list[str], length: int | None) -> None:
    assert answer("HTTP/1.1 200 OK", *headers).content_length == length


@pytest.mark.parametrize(
    ("value", "span"),
    [
        ("bytes 0-99/100", (0, 99, 100)),
        ("bytes 5-9/*", (5, 9, None)),
        ("Bytes 5-9/10", (5, 9, 10)),
        ("bytes */100", None),
        ("bytes 5-9", None),
        ("bytes=5-9/10", None),
        ("lines 5-9/10", None),
        ("bytes 9-5/10", None),
        ("bytes 5-10/10", None),
        ("bytes 5-9/10, 11-12/20", None),
        ("bytes 0-" + "9" * 5000 + "/*", None),
    ],
)
def test_the_range_of_a_partial_answer(value: str, span: tuple[int, int, int | None]) -> None:
    assert answer("HTTP/1.1 206 Partial Content", f"Content-Range: {value}").content_range == span


@pytest.mark.parametrize(
    ("tag", "strong"), [('"a"', '"a"'), ('W/"a"', None), ('w/"a"', None), ("", None)]
)
def test_only_a_strong_entity_tag_vouches_for_bytes(tag: str, strong: str | None) -> None:
    assert answer("HTTP/1.1 200 OK", f"ETag: {tag}").etag == strong


def test_last_modified_stays_as_it_was_sent() -> None:
    date = "Wed, 21 Oct 2015 07:28:00 GMT"
    assert answer("HTTP/1.1 200 OK", f"Last-Modified: {date}").last_modified == date
    assert answer("HTTP/1.1 200 OK").last_modified is None


@pytest.mark.parametrize("status", ["9" * 5000, "-1", "20", "2000", "\xb2\xb2\xb2", ""])
def test_status_that_is_no_three_digits_is_none(status: str) -> None:
    assert answer(f"HTTP/1.1 {status} OK", "").status == 0
