"""What `ps` shows of a forked process, in place of the command line of the process that forked it."""

from __future__ import annotations

import ctypes
from contextlib import suppress
from pathlib import Path

_SELF = Path("/proc/self")
#: Positions in /proc/self/stat behind the name: where the arguments begin and end in memory.
_BEGIN, _END = 45, 46


def show(title: str) -> None:
    """Show a title; only on Linux, and cut where the command line was shorter.

    The arguments of `seen get` may have secrets, which are no business of its services either.
    """
    with suppress(OSError):
        (_SELF / "comm").write_text(title.replace(" ", "-")[:15])
    area = _arguments()
    if area is not None:
        begin, size = area
        ctypes.memmove(begin, title.encode()[: size - 1].ljust(size, b"\0"), size)


def _arguments() -> tuple[int, int] | None:
    """Return the address and the size of the arguments; None where the kernel does not say."""
    try:
        fields = (_SELF / "stat").read_text().rpartition(")")[2].split()
        arguments = (_SELF / "cmdline").read_bytes()
        begin, end = int(fields[_BEGIN]), int(fields[_END])
    except (OSError, ValueError, IndexError):
        return None
    return (begin, end - begin) if begin and 0 < end - begin == len(arguments) else None
