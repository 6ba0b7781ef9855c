"""Standard input, output and error, which may be closed, full, or a pipe without a reader."""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from domain.errors import OutputError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_INPUT, _OUTPUT, _ERRORS = 0, 1, 2


def prepare_command() -> None:
    """Make failures of standard output raise OutputError, and those of standard error have no effect.

    Call it first in a program: a closed descriptor would be reused by the next file that it opens.
    """
    _open_closed()
    _replace("stdout", _Output(_OUTPUT), "replace")
    _replace("stderr", _Log(_ERRORS), "backslashreplace")


def prepare_service() -> None:
    """Make failures of standard output and standard error have no effect: both are a log."""
    _open_closed()
    _replace("stdout", _Log(_OUTPUT), "replace")
    _replace("stderr", _Log(_ERRORS), "backslashreplace")


def flush_or_discard_output() -> None:
    """Write what standard output has buffered; drop what it does not take, and all that follows."""
    try:
        sys.stdout.flush()
    except OutputError:
        _discard_output()


def _discard_output() -> None:
    with suppress(OSError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, _OUTPUT)
        os.close(null)
    with suppress(OutputError):
        sys.stdout.flush()


class _Output(io.FileIO):
    """Standard output of a command: an error of it is OutputError."""

    def __init__(self, number: int) -> None:
        super().__init__(number, "wb", closefd=False)

    def write(self, data: ReadableBuffer, /) -> int:
        """Write, and wait while a descriptor that does not block is busy."""
        try:
            while (written := super().write(data)) is None:
                select.select([], [self], [])
        except OSError as error:
            raise OutputError(error) from None
        return written


class _Log(_Output):
    """A stream whose failures have no effect: there is no other stream to report them to."""

    def write(self, data: ReadableBuffer, /) -> int:
        """Write, or drop the data."""
        try:
            return super().write(data)
        except OutputError:
            return memoryview(data).nbytes


def _open_closed() -> None:
    """Open each closed descriptor on /dev/null for the other direction, so that its use is an error."""
    for number, flags in ((_INPUT, os.O_WRONLY), (_OUTPUT, os.O_RDONLY), (_ERRORS, os.O_RDONLY)):
        try:
            os.fstat(number)
        except OSError as error:
            if error.errno == errno.EBADF:
                _open_null(number, flags)
    if sys.stdin is None:
        sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(_INPUT, closefd=False)))


def _open_null(number: int, flags: int) -> None:
    with suppress(OSError):  # a machine without /dev/null
        null = os.open(os.devnull, flags)
        if null != number:
            os.dup2(null, number)
            os.close(null)
        os.set_inheritable(number, True)


def _replace(name: str, raw: io.FileIO, errors: str) -> None:
    """Replace a text stream of `sys` by one with the same encoding."""
    before = getattr(sys, name)
    is_unbuffered = getattr(before, "write_through", False)  # PYTHONUNBUFFERED
    with suppress(AttributeError, OSError, OutputError):
        before.flush()
    stream = io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=getattr(before, "encoding", None) or "utf-8",
        errors=errors,
        line_buffering=isinstance(raw, _Log) or is_unbuffered or raw.isatty(),
    )
    setattr(sys, name, stream)
    setattr(sys, f"__{name}__", stream)
