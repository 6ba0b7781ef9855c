"""Reads the text files that options name: headers, cookies and passwords whole, lists line by line."""

from __future__ import annotations

import codecs
import io
import os
import re
import select
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from domain.errors import InvalidInputError

#: Of a file that is read whole: larger than any of headers or passwords.
MAX_BYTES = 256 * 1024
#: How long a FIFO may have no writer. Seconds.
_WRITER_TIMEOUT = 10.0
_POLL_MILLISECONDS = 100

#: Characters of an overlong line that are read at once.
_PIECE = 1 << 20

_OTHER_ENCODINGS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)
_OTHER_ENCODING = "The file is not UTF-8 text: save it as UTF-8."
_NUL = "The file contains NUL bytes, so it is not text."


def is_text(argument: str) -> bool:
    """Return whether an argument is UTF-8: other bytes arrive as lone surrogates."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        return False
    return True


def read_text(option: str, path: str, *, max_bytes: int = MAX_BYTES) -> str:
    """Return the text of a file, with ``\\n`` at the ends of lines and without byte-order mark.

    A pipe or FIFO is read until its writers close it.

    Args:
        option: for messages.
        path: of the file; ``-`` is standard input.
        max_bytes: a larger file is refused.

    Raises:
        InvalidInputError: it cannot be read, is too large, or is not UTF-8 text.
    """
    with _naming(option, path), _opened(path) as file:
        data = bytearray()
        while len(data) <= max_bytes and (read := file.read(max_bytes + 1 - len(data))):
            data += read
        return _decode(bytes(data), max_bytes)


def read_lines(option: str, path: str, *, longest: int) -> Iterator[str]:
    """Yield the lines of a file of any length as they are read, without line ends and byte-order mark.

    Bytes that are not UTF-8 are lone surrogates (`is_text`). Of a line with more than `longest`
    characters the first `longest` + 1 are yielded.

    Args:
        option: for messages.
        path: of the file; ``-`` is standard input.
        longest: characters of a line.

    Raises:
        InvalidInputError: it cannot be read, is UTF-16 or UTF-32, or has a long line with NUL bytes.
    """
    with _naming(option, path), _opened(path) as file:
        start = file.peek(4)[:4]
        if start.startswith(_OTHER_ENCODINGS):
            raise _UnusableError(_OTHER_ENCODING)
        text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline=None)
        try:
            while line := text.readline(longest + 2):
                if len(line) > longest and not line.endswith("\n"):
                    _skip_line(text, line)
                yield line.removesuffix("\n")[: longest + 1]
        finally:
            text.detach()  # the caller, who opened the file, closes it


def _skip_line(text: io.TextIOWrapper, start: str) -> None:
    piece = start
    while piece and not piece.endswith("\n"):
        if "\0" in piece:  # it may be endless
            raise _UnusableError(_NUL)
        piece = text.readline(_PIECE)


@contextmanager
def _naming(option: str, path: str) -> Iterator[None]:
    """Raise what goes wrong with a file as InvalidInputError."""
    shown = "standard input" if path == "-" else path
    try:
        yield
    except _UnusableError as error:
        raise InvalidInputError(option, shown, str(error)) from None
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: `~name` of an unknown user
        why = getattr(error, "strerror", None) or str(error).rstrip(".")
        raise InvalidInputError(option, shown, f"The file cannot be read: {why}.") from None


class _UnusableError(Exception):
    """The content cannot be used; the message is a sentence."""


@contextmanager
def _opened(path: str) -> Iterator[io.BufferedReader]:
    if path == "-":
        if sys.stdin is None:
            raise _UnusableError("Standard input is closed.")
        file = sys.stdin.buffer
        yield file if isinstance(file, io.BufferedReader) else io.BufferedReader(_Unbuffered(file))
        return
    if not path:
        raise _UnusableError("Write the name of a file, or '-' for standard input.")
    with open(Path(path).expanduser(), "rb", buffering=0, opener=_open_at_once) as raw:
        first = _first_of_fifo(raw.fileno())
        os.set_blocking(raw.fileno(), True)
        yield io.BufferedReader(_Unbuffered(raw, first))


class _Unbuffered(io.RawIOBase):
    """A file of which some bytes were read already."""

    def __init__(self, file: BinaryIO | io.FileIO, first: bytes = b"") -> None:
        self._file, self._first = file, first

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        data = self._first or self._file.read(len(buffer)) or b""
        self._first = b""
        buffer[: len(data)] = data
        return len(data)


def _open_at_once(path: str, flags: int) -> int:
    """Open a file; for a FIFO do not wait for its writer, which may never come."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


def _first_of_fifo(descriptor: int) -> bytes:
    """Wait until a FIFO has a writer, or bytes; return the byte that had to be read to see that."""
    is_fifo = stat.S_ISFIFO(os.fstat(descriptor).st_mode)
    if not is_fifo or str(Path(f"/proc/self/fd/{descriptor}").readlink()).startswith("pipe:"):
        return b""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    end = time.monotonic() + _WRITER_TIMEOUT
    while not poll.poll(_POLL_MILLISECONDS):
        try:
            if first := os.read(descriptor, 1):
                return first
        except BlockingIOError:  # a writer that has written nothing yet
            return b""
        if time.monotonic() > end:
            raise _UnusableError(f"No program has opened this FIFO for {_WRITER_TIMEOUT:.0f} s.")
    return b""


def _decode(data: bytes, max_bytes: int) -> str:
    if len(data) > max_bytes:
        raise _UnusableError(f"The file is larger than {max_bytes // 1024:,} KiB.")
    if data.startswith(_OTHER_ENCODINGS):
        raise _UnusableError(_OTHER_ENCODING)
    if b"\0" in data:
        raise _UnusableError(_NUL)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _UnusableError(f"Line {line} of the file is not UTF-8 text.") from None
    return re.sub(r"\r\n?", "\n", text)
