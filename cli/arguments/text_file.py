"""Reads the text that an option names as ``@FILE``: one reader for headers, cookies and passwords."""

from __future__ import annotations

import codecs
import os
import re
import select
import stat
import sys
import time
from pathlib import Path

from domain.errors import InvalidInputError

#: Larger than any file of headers or passwords.
MAX_BYTES = 256 * 1024
#: How long a FIFO may have no writer. Seconds.
_WRITER_TIMEOUT = 10.0
_POLL_MILLISECONDS = 100

_OTHER_ENCODINGS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)


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
    shown = "standard input" if path == "-" else path
    try:
        data = _read_stdin(max_bytes) if path == "-" else _read_file(path, max_bytes)
        return _decode(data, max_bytes)
    except _UnusableError as error:
        raise InvalidInputError(option, shown, str(error)) from None
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: `~name` of an unknown user
        why = getattr(error, "strerror", None) or str(error).rstrip(".")
        raise InvalidInputError(option, shown, f"The file cannot be read: {why}.") from None


class _UnusableError(Exception):
    """The content cannot be used; the message is a sentence."""


def _read_stdin(max_bytes: int) -> bytes:
    if sys.stdin is None:
        raise _UnusableError("Standard input is closed.")
    return sys.stdin.buffer.read(max_bytes + 1)


def _read_file(path: str, max_bytes: int) -> bytes:
    if not path:
        raise _UnusableError("Write the name of a file, or '-' for standard input.")
    with open(Path(path).expanduser(), "rb", buffering=0, opener=_open_at_once) as file:
        data = bytearray(_first_of_fifo(file.fileno()))
        os.set_blocking(file.fileno(), True)
        while len(data) <= max_bytes and (read := file.read(max_bytes + 1 - len(data))):
            data += read
        return bytes(data)


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
        raise _UnusableError("The file is not UTF-8 text: save it as UTF-8.")
    if b"\0" in data:
        raise _UnusableError("The file contains NUL bytes, so it is not text.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _UnusableError(f"Line {line} of the file is not UTF-8 text.") from None
    return re.sub(r"\r\n?", "\n", text)
