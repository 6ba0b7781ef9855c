"""The one reader of files that options name: what each kind of file is, for each option."""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.arguments import text_file
from cli.arguments.download_options import DownloadOptions
from cli.arguments.text_file import MAX_BYTES, read_text
from cli.arguments.url_list import Entry
from domain.errors import InvalidInputError


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", ""),
        (b"a: b", "a: b"),
        (b"a: b\n", "a: b\n"),
        (b"\xef\xbb\xbfa\r\nb\rc\n", "a\nb\nc\n"),
        ("ü\x0c\x85\u2028x".encode(), "ü\x0c\x85\u2028x"),
        (b"x" * MAX_BYTES, "x" * MAX_BYTES),
    ],
)
def test_text_of_a_file(tmp_path: Path, data: bytes, text: str) -> None:
    (tmp_path / "file").write_bytes(data)
    assert read_text("--header", str(tmp_path / "file")) == text


def missing(path: Path) -> None:
    """No file."""


def folder(path: Path) -> None:
    path.mkdir()


def unread_fifo(path: Path) -> None:
    os.mkfifo(path)


def loop(path: Path) -> None:
    path.symlink_to(path)


def content(data: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(data)


UNUSABLE: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (missing, "No such file"),
    "folder": (folder, "Is a directory"),
    "FIFO without writer": (unread_fifo, "No program has opened this FIFO"),
    "symlink to itself": (loop, "cannot be read"),
    "large": (content(b"x" * (4 * 1024 * 1024 + 1)), "larger than"),
    "UTF-16": (content("a: hunter2".encode("utf-16")), "save it as UTF-8"),
    "NUL": (content(b"a: hunter2\0"), "NUL bytes"),
    "Latin-1": (content(b"a: b\nhunter2: \xfc\n"), "Line 2 of the file is not UTF-8"),
}


@pytest.mark.parametrize("kind", UNUSABLE)
@pytest.mark.parametrize("option", ["--header", "--cookie", "--user"])
def test_unusable_file_is_named_for_each_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, option: str
) -> None:
    monkeypatch.setattr(text_file, "_WRITER_TIMEOUT", 0.0)
    make, says = UNUSABLE[kind]
    path = tmp_path / "file"
    make(path)
    given = DownloadOptions(
        **{
            "--header": {"header": [f"@{path}"]},
            "--cookie": {"cookie": f"@{path}"},
            "--user": {"user": f"me:@{path}"},
        }[option]  # type: ignore[arg-type]
    )
    with pytest.raises(InvalidInputError, match=says) as caught:
        given.requests([Entry("http://example.org/a")], directory="")
    assert caught.value.field == option
    assert str(path)[:50] in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "path", ["", "\0", "~no-such-user/x", "x" * 300, "/dev/full/x", "/proc/self/mem"]
)
def test_name_of_no_file_is_refused(path: str) -> None:
    with pytest.raises(InvalidInputError):
        read_text("--header", path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_unreadable_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a")
    (tmp_path / "file").chmod(0)
    with pytest.raises(InvalidInputError, match="Permission denied"):
        read_text("--header", str(tmp_path / "file"))


@pytest.mark.parametrize("text", ["a: b\n", ""])
def test_pipe_is_read_to_its_end(text: str) -> None:
    """As the shell makes one for ``@<(command)``."""
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as file:
        file.write(text)
    assert read_text("--header", f"/dev/fd/{reading}") == text
    os.close(reading)


def test_fifo_is_read_when_its_writer_comes(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    writer = threading.Thread(target=fifo.write_text, args=("a: b\n",))
    writer.start()
    assert read_text("--header", str(fifo)) == "a: b\n"
    writer.join()


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xef\xbb\xbfa\r\n")))
    assert read_text("--header", "-") == "a\n"
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(InvalidInputError, match="Standard input is closed"):
        read_text("--header", "-")


@pytest.mark.parametrize(
    "options",
    [
        {"header": ["@-", "@-"]},
        {"header": ["@-"], "cookie": "@-"},
        {"header": ["@-"], "cookie": "-"},
        {"cookie": "-", "user": "me:@-"},
        {"header": ["@-"], "login": "me:@-"},
    ],
)
def test_standard_input_goes_to_one_option(options: dict[str, object]) -> None:
    with pytest.raises(InvalidInputError, match="reads standard input already"):
        DownloadOptions(**options).requests([Entry("http://example.org/")], directory="")  # type: ignore[arg-type]
