"""System calls that Python's `os` lacks, or offers with side effects."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path


def allocate(fd: int, total: int) -> None:
    """Allocate blocks for `total` bytes of an open file.

    This is Linux' fallocate. C's posix_fallocate writes every block where the file system cannot
    allocate; this one fails instead. Without such a call (not on Linux) it does nothing.

    Raises:
        OSError: the file system has not enough space, or cannot allocate.
    """
    fallocate = _fallocate()
    if fallocate is None or fallocate(fd, 0, 0, total) == 0:
        return
    number = ctypes.get_errno()
    raise OSError(number, os.strerror(number))


@cache
def _fallocate() -> Callable[[int, int, int, int], int] | None:
    function = getattr(ctypes.CDLL(None, use_errno=True), "fallocate64", None)
    if function is not None:
        function.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    return function


def write_all(fd: int, chunks: Sequence[bytes], position: int) -> int:
    """Write `chunks` one after another from `position` on; return the number of bytes.

    Raises:
        OSError: they are not all written.
    """
    size = sum(map(len, chunks))
    written = os.pwritev(fd, chunks, position)
    if written < size:  # interrupted by a signal, or the disk is full: then the next write raises
        rest = memoryview(b"".join(chunks))[written:]
        while rest:
            done = os.pwrite(fd, rest, position + written)
            written += done
            rest = rest[done:]
    return size


@cache
def umask() -> int:
    """Return the process's umask; `os.umask` can only read it by changing it for a moment."""
    with suppress(OSError):  # only Linux has this file
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    return 0o022
