"""A file of headers: what is accepted, and which line of it is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.arguments.header_file import read_headers
from domain.errors import InvalidInputError


def test_headers_with_comments_and_blank_lines(tmp_path: Path) -> None:
    data = b"\xef\xbb\xbf# of the mirror\r\nX-One: 1\r\n\r\n \t\r\nX-Two:2: \r\nX-Empty:\r\n"
    (tmp_path / "headers").write_bytes(data)
    found = read_headers(str(tmp_path / "headers"))
    assert found == {"X-One": " 1", "X-Two": "2: ", "X-Empty": ""}


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (":authority: hunter2", "Line 2: a browser's pseudo header; remove it."),
        (":authority\nhunter2", "Line 2: a browser's pseudo header"),
        ("GET /hunter2 HTTP/1.1", "Line 2: the request line; remove it."),
        ("get /hunter2 http/2", "Line 2: the request line"),
        ("HTTP/1.1 200 hunter2", "Line 2: the status line of a response"),
        (" hunter2: x", "Line 2: it continues the line before it"),
        ("accept\nhunter2", "Line 3: no header; write 'Name: value' on one line."),
        ("referer:\nhttps://hunter2/", "Line 3: no header"),
        ("hunter2", "Line 2: no header"),
        ("X-Key : hunter2", "Line 2: no header"),
        ("key=hunter2: x", "Line 2: no header"),
        ('{"X-Key": "hunter2"}', "Line 2: no header"),
        ("curl https://hunter2/ \\", "Line 2: no header"),
        ("x-FIRST: hunter2", "Line 2: x-FIRST again"),
        ("Range: hunter2", "Line 2: Range. This header cannot be given. The service requests"),
        ("Host: hunter2", "Line 2: Host. This header cannot be given"),
        ("content-length: 2", "Line 2: content-length. This header cannot be given"),
        ("Connection: hunter2", "Line 2: Connection."),
        ("Accept-Encoding: hunter2", "Line 2: Accept-Encoding."),
        ("Cookie: hunter2", "Line 2: Cookie. This header cannot be given. Give cookies as such"),
        ("Proxy-Authorization: hunter2", "Line 2: Proxy-Authorization."),
        ("X-Key: hunter2ü", "Line 2: X-Key. Its value may hold printable ASCII only"),
        ("X-Key: hunter2\x0b", "Line 2: X-Key. Its value"),
    ],
)
def test_wrong_line_is_named_and_its_value_is_not_shown(
    tmp_path: Path, lines: str, says: str
) -> None:
    path = tmp_path / "h"
    path.write_text(f"X-First: 1\n{lines}\n")
    with pytest.raises(InvalidInputError) as caught:
        read_headers(str(path))
    assert says in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert caught.value.field == "--header"


@pytest.mark.parametrize("text", ["", "\n# none\n"])
def test_file_without_headers_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "h").write_text(text)
    with pytest.raises(InvalidInputError, match="no headers"):
        read_headers(str(tmp_path / "h"))


def test_of_many_wrong_lines_the_first_ones_are_named(tmp_path: Path) -> None:
    (tmp_path / "h").write_text("a\n" * 5)
    with pytest.raises(InvalidInputError, match=r"Line 4: .* 1 more line is wrong"):
        read_headers(str(tmp_path / "h"))
    (tmp_path / "h").write_text("a\n" * 9)
    with pytest.raises(InvalidInputError, match="5 more lines are wrong"):
        read_headers(str(tmp_path / "h"))
