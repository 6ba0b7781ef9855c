"""What an FTP server's replies tell of a file."""

from __future__ import annotations

import pytest

from worker.transfer.http.response import FtpReplies

WELCOME = [b"220 ready\r\n", b"230 Login successful.\r\n", b"257 213 is a folder\r\n"]
MODIFIED, SIZE = b"213 20010909014640\r\n", b"213 1000\r\n"
DATE = "Sun, 09 Sep 2001 01:46:40 GMT"


def replies(*lines: bytes) -> FtpReplies:
    found = FtpReplies()
    for line in (*WELCOME, *lines):
        found.feed(line)
    return found


def test_size_and_date_become_an_answer() -> None:
    answer = replies(MODIFIED, b"227 Entering passive mode\r\n", SIZE).to_response(None)
    assert (answer.status, answer.content_length, answer.last_modified) == (200, 1000, DATE)
    assert answer.validator == DATE, "old enough to vouch for bytes"


def test_the_rest_of_a_file_is_a_range_of_it() -> None:
    answer = replies(MODIFIED, SIZE).to_response(400)
    assert (answer.status, answer.content_range) == (206, (400, 999, 1000))
    assert answer.resource_size == 1000


@pytest.mark.parametrize(
    ("lines", "size", "date"),
    [
        ([], None, None),
        ([SIZE], 1000, None),
        ([MODIFIED], None, DATE),
        ([b"550 No such file\r\n", SIZE], 1000, None),
        ([MODIFIED, b"550 No such file\r\n"], None, DATE),
        ([b"213 20010909014640.123\r\n", SIZE], 1000, DATE),
        ([MODIFIED, b"213 20010909014641\r\n"], 20_010_909_014_641, DATE),
        ([b"213 99999999999999\r\n"], 99_999_999_999_999, None),
        ([b"213 0\r\n"], 0, None),
        ([b"213 -1\r\n"], None, None),
        ([b"213-1000\r\n"], None, None),
        ([b"213 1000 bytes\r\n"], None, None),
        ([b"213 " + b"9" * 5000 + b"\r\n"], None, None),
        ([b"\xff\xfe\r\n", b""], None, None),
    ],
)
def test_what_cannot_be_read_is_not_known(
    lines: list[bytes], size: int | None, date: str | None
) -> None:
    answer = replies(*lines).to_response(None)
    assert (answer.status, answer.content_length, answer.last_modified) == (200, size, date)


@pytest.mark.parametrize("lines", [[], [MODIFIED, SIZE]])
def test_a_file_that_ends_before_the_range_has_none(lines: list[bytes]) -> None:
    assert replies(*lines).to_response(1000).content_range is None
