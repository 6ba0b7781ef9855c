"""Lists of URLs: which lines are accepted, and what is said about each other one."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.arguments import text_file, url_list
from cli.arguments.url_list import Entry, UrlList, read_url_list
from cli.errors import BadLine
from domain.errors import InvalidInputError

A, B = "http://a.example/1", "http://b.example/1"
SHA = "ab" * 32


def read(tmp_path: Path, data: bytes | str, is_secret: bool = False) -> UrlList:
    path = tmp_path / "urls.txt"
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return read_url_list(str(path), is_secret=is_secret)


GOOD: dict[str, tuple[bytes | str, list[Entry]]] = {
    "one": (A, [Entry(A, line=1)]),
    "two": (f"{A}\n{B}\n", [Entry(A, line=1), Entry(B, line=2)]),
    "comments and blank lines": (f"# x\n\n \t\n{A}\n  # y\n", [Entry(A, line=4)]),
    "white space around it": (f" \t {A} \t \n", [Entry(A, line=1)]),
    "byte-order mark": (b"\xef\xbb\xbf" + A.encode(), [Entry(A, line=1)]),
    "CRLF": (f"{A}\r\n{B}\r\n", [Entry(A, line=1), Entry(B, line=2)]),
    "CR": (f"{A}\r{B}\r", [Entry(A, line=1), Entry(B, line=2)]),
    "mirrors": (f"{A}\t{B}\t\t {A}2 \n", [Entry(A, (B, f"{A}2"), line=1)]),
    "normalized": ("HTTP://A.Example/ü\n", [Entry("HTTP://a.example/%C3%BC", line=1)]),
    "out": (f"{A}\n  out=x.bin\n", [Entry(A, name="x.bin", line=1)]),
    "out in a folder": (f"{A}\n\tout=p/q/x\n", [Entry(A, name="x", directory="p/q", line=1)]),
    "dir": (f"{A}\n dir=p/q \n", [Entry(A, directory="p/q", line=1)]),
    "out and dir": (f"{A}\n out=q/x\n dir=p\n", [Entry(A, name="x", directory="p/q", line=1)]),
    "checksum": (f"{A}\n checksum=sha-256={SHA}\n", [Entry(A, checksum=f"sha256:{SHA}", line=1)]),
    "our checksum": (
        f"{A}\n checksum=sha256:{SHA}\n",
        [Entry(A, checksum=f"sha256:{SHA}", line=1)],
    ),
    "option after a comment": (
        f"{A}\n# c\n\n out=x\n{B}",
        [Entry(A, name="x", line=1), Entry(B, line=5)],
    ),
    "indented URL with =": (f"{A}\n  {B}?out=x\n", [Entry(A, line=1), Entry(f"{B}?out=x", line=2)]),
    "equal URLs, two names": (
        f"{A}\n out=x\n{A}\n out=y\n",
        [Entry(A, name="x", line=1), Entry(A, name="y", line=3)],
    ),
    "longest line": (
        f"{A}{'x' * 7_000}\t{B}\n",
        [Entry(f"{A}{'x' * 7_000}", (B,), line=1)],
    ),
    "nothing": ("", []),
}


@pytest.mark.parametrize("case", GOOD)
def test_accepted_lines(tmp_path: Path, case: str) -> None:
    data, entries = GOOD[case]
    found = read(tmp_path, data)
    assert (found.entries, found.bad, found.repeated) == (entries, [], 0)


BAD: dict[str, tuple[bytes | str, str]] = {
    "no URL": ("example", "It must begin with http://"),
    "scheme is missing": ("example.org/x", "Did you mean https://example.org/x?"),
    "other scheme": ("magnet:?xt=urn:btih:abc", "It must begin with http://"),
    "space": (f"{A} {B}", "must be percent-encoded"),
    "control character": (f"{A}\x1b[2J", "must be percent-encoded"),
    "login": ("http://me:hunter2@a.example/", "passwords in URLs are not accepted"),
    "no host": ("http:///x", "not valid"),
    "port": ("http://a:99999/", "not valid"),
    "long URL": (f"{A}{'x' * 8_000}", "at most 8000 octets"),
    "long line": (f"{A}{'x' * 200_000}", "It is longer than"),
    "NUL": (f"{A}\0", "It contains NUL bytes"),
    "no UTF-8": (A.encode() + b"\xff", "It is not UTF-8 text."),
    "no UTF-8 in an option": (A.encode() + b"\n out=\xff", "It is not UTF-8 text."),
    "wrong mirror": (f"{A}\tb", "mirrors: 'b' is not valid"),
    "many mirrors": ("\t".join(f"{A}{number}" for number in range(22)), "At most 20"),
    "other option": (f"{A}\n split=5", "'split' is not supported in lists"),
    "option that is not indented": (f"{A}\nout=x", "begins with a space"),
    "option twice": (f"{A}\n out=x\n out=y", "'out' already"),
    "absolute folder": (f"{A}\n dir=/etc", "inside that of the command"),
    "folder of a user": (f"{A}\n dir=~root", "inside that of the command"),
    "folder above": (f"{A}\n dir=x/../../y", "without '..'"),
    "absolute name": (f"{A}\n out=/etc/passwd", "inside the folder of the command"),
    "name above": (f"{A}\n out=../x", "without '..'"),
    "empty name": (f"{A}\n out=", "name: ''"),
    "name of a folder": (f"{A}\n out=x/", "name: ''"),
    "name of ours": (f"{A}\n out=.seen-x", "the service's own"),
    "unknown checksum": (f"{A}\n checksum=adler32=ab", "one of md5"),
    "short checksum": (f"{A}\n checksum=sha-1=ab", "40 hexadecimal digits"),
}


@pytest.mark.parametrize("case", BAD)
def test_refused_lines(tmp_path: Path, case: str) -> None:
    """Each is the last line, after a good URL, and is named by its number; the entry is not accepted."""
    data, says = BAD[case]
    lines = f"{B}\n".encode() + (data.encode() if isinstance(data, str) else data)
    found = read(tmp_path, lines)
    (bad,) = found.bad
    assert bad.number == lines.count(b"\n") + 1
    assert says in bad.reason
    assert "hunter2" not in bad.reason
    assert len(bad.reason) < 400
    kept = {"option that is not indented"}
    assert [one.url for one in found.entries] == ([B, A] if case in kept else [B])


def test_all_bad_lines_are_named_in_their_order(tmp_path: Path) -> None:
    found = read(tmp_path, f"x\n{A}\ny\n split=5\n out=x\n{B}\n dir=/\n out=a\nz\n")
    assert [one.number for one in found.bad] == [1, 3, 4, 7, 9]
    assert [one.url for one in found.entries] == [A]


def test_option_without_url(tmp_path: Path) -> None:
    (bad,) = read(tmp_path, f"# {A}\n out=x\n{B}\n").bad
    assert bad == BadLine(2, "It is an option, and no URL stands before it.")


def test_secret_urls_are_not_shown(tmp_path: Path) -> None:
    found = read(tmp_path, "htp://example.org/hunter2\n", is_secret=True)
    assert "hunter2" not in found.bad[0].reason


def test_repeated_downloads_are_counted(tmp_path: Path) -> None:
    same = f"{A}\nHTTP://A.EXAMPLE:80/./1\n{A}\t{B}\n{A}\n dir=.\n{B}\n"
    found = read(tmp_path, same)
    assert ([one.line for one in found.entries], found.repeated) == ([1, 6], 3)
    path = str(tmp_path / "urls.txt")
    assert read_url_list(path, before=[Entry(B)]).entries == [Entry(A, line=1)]


def missing(path: Path) -> None:
    """No file."""


def content(data: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(data)


UNUSABLE: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (missing, "No such file"),
    "folder": (Path.mkdir, "Is a directory"),
    "FIFO without writer": (os.mkfifo, "No program has opened this FIFO"),
    "symlink to itself": (lambda path: path.symlink_to(path), "cannot be read"),
    "endless zeros": (lambda path: path.symlink_to("/dev/zero"), "NUL bytes"),
    "unreadable": (lambda path: path.symlink_to("/proc/self/mem"), "cannot be read"),
    "UTF-16": (content(A.encode("utf-16")), "save it as UTF-8"),
    "UTF-16 without mark": (content(A.encode("utf-16-le")), "NUL bytes"),
    "UTF-32": (content(A.encode("utf-32")), "save it as UTF-8"),
    "program": (content(b"\x7fELF\x02\x01\x01\0\0\0\n\0" * 99), "NUL bytes"),
    "picture": (content(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" * 99), "NUL bytes"),
    "too many": (content(b"http://a/%d\n" % 1 + b"x\n" * 5), "more than 5 URLs"),
}


@pytest.mark.parametrize("kind", UNUSABLE)
def test_unusable_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(text_file, "_WRITER_TIMEOUT", 0.0)
    monkeypatch.setattr(url_list, "MAX_URLS", 5)
    make, says = UNUSABLE[kind]
    make(tmp_path / "urls")
    with pytest.raises(InvalidInputError, match=says) as caught:
        read_url_list(str(tmp_path / "urls"))
    assert caught.value.field == "--input-file"
    assert "urls" in str(caught.value)


@pytest.mark.parametrize("path", ["", "\0", "~no-such-user/x", "x" * 300])
def test_name_of_no_file(path: str) -> None:
    with pytest.raises(InvalidInputError):
        read_url_list(path)


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    data = io.BytesIO(f"{A}\r\n{B}".encode())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(data))
    assert [one.url for one in read_url_list("-").entries] == [A, B]
    assert not data.closed
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(InvalidInputError, match="standard input"):
        read_url_list("-")


def test_file_that_is_removed_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "urls"
    path.write_text("".join(f"{A}{number}\n" for number in range(3_000)))
    found = read_url_list(str(path), progress=lambda _: path.unlink(missing_ok=True))
    assert len(found.entries) == 3_000


def test_bad_line_as_json_masks_secrets() -> None:
    line = BadLine(3, "url: 'x' of http://a.example/?token=hunter2 is not valid.")
    assert "hunter2" not in str(line.as_dict())
