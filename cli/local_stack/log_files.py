"""The logs of a local stack: `logs/NAME.log` in the data folder, bounded in size and number.

A process appends to a descriptor that it keeps open, and some of what it prints no logging of its own
ever sees. So a full log is rotated from outside: its content is copied to `NAME.log.1`, and the log is
emptied in place. The next write of the process, which appends, starts it again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from seen_local.own_files import ForeignFileError, create_own_file, open_own_file
from worker.logs import setup

#: A larger log is rotated. Bytes.
MAX_LOG_BYTES = 5_000_000
#: Rotated logs that are kept: `NAME.log.1`, the newest, to `NAME.log.3`.
KEPT_LOGS = 3
_CHUNK = 1 << 20
#: Seconds between two checks of the sizes.
_CHECK_INTERVAL = 1.0


class LogRotation:
    """Rotates full logs while a stack runs."""

    def __init__(self) -> None:
        self._next_check = 0.0

    def run(self, logs: Iterable[Path]) -> None:
        """Rotate those that are full; check at most once a second."""
        if time.monotonic() < self._next_check:
            return
        self._next_check = time.monotonic() + _CHECK_INTERVAL
        for log in logs:
            with suppress(
                OSError, ForeignFileError
            ):  # the stack runs on whatever happens to its logs
                rotate_if_full(log)


def supervisor_log(data_dir: Path) -> Path:
    """Return the log of the supervisor itself."""
    return data_dir / "logs" / "supervisor.log"


def open_log(path: Path) -> BinaryIO:
    """Open a log for appending, readable by its owner only; rotate a full one."""
    with suppress(FileNotFoundError):
        rotate_if_full(path)
    return os.fdopen(open_own_file(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "ab")


def append_line(path: Path, line: str, event: str = "output") -> None:
    """Append a line with the time to a log; a log that cannot be written has no effect."""
    with suppress(OSError, ForeignFileError), open_log(path) as log:
        log.write(f"{with_time(line, event)}\n".encode())


def with_time(line: str, event: str) -> str:
    """Return what the supervisor reports as a line of its log."""
    if setup.uses_json():
        return setup.json_line("supervisor", line, event)
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {line}"


def last_line(log: Path) -> str:
    """Return the last line of a log."""
    try:
        lines = log.read_text(errors="replace").split("\n")
    except OSError:
        lines = []
    return next((line.strip() for line in reversed(lines) if line.strip()), "(no output)")


def rotate_if_full(path: Path) -> None:
    """Copy a log of more than MAX_LOG_BYTES to `NAME.log.1` and empty it; older copies move up.

    A log that cannot be copied, for example because the disk is full, is emptied all the same.
    """
    log = open_own_file(path, os.O_RDWR)
    try:
        if os.fstat(log).st_size <= MAX_LOG_BYTES:
            return
        with suppress(OSError, ForeignFileError):
            _copy_end(log, _shift_copies(path))
        os.ftruncate(log, 0)
    finally:
        os.close(log)


def _shift_copies(path: Path) -> Path:
    """Rename each copy to the next number, which drops the oldest; return the name of a new one."""
    copies = [path.with_name(f"{path.name}.{number}") for number in range(1, KEPT_LOGS + 1)]
    for older, newer in zip(reversed(copies[1:]), reversed(copies[:-1]), strict=True):
        with suppress(FileNotFoundError):
            newer.replace(older)
    return copies[0]


def _copy_end(log: int, copy: Path) -> None:
    """Copy the last MAX_LOG_BYTES of a log, and what is appended meanwhile."""
    position = max(0, os.fstat(log).st_size - MAX_LOG_BYTES)
    with os.fdopen(create_own_file(copy), "wb") as file:
        while part := os.pread(log, _CHUNK, position):
            file.write(part)
            position += len(part)
