"""Reads the logs of the local stack: `logs/NAME.log` in the data folder, and rotated ones beside it.

A full log is copied to `NAME.log.1` and emptied, while its process goes on writing to it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from seen_local.own_files import ForeignFileError, open_own_file

#: Read at once at most; a log and its rotated copies are not larger.
_MOST = 16 << 20
#: What was read last, to be found again in a rotated copy.
_TAIL = 256
_NAME = re.compile(r"([\w-]+)\.log(?:\.[1-9][0-9]{0,2})?")


def log_names(folder: Path) -> list[str]:
    """Return the names of the processes that have a log, in alphabetical order."""
    try:
        matches = [_NAME.fullmatch(path.name) for path in folder.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted({match[1] for match in matches if match})


class LogReader:
    """Reads one log: its last lines, then what is added.

    Args:
        folder: of the logs.
        name: of the process.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self._path = folder / f"{name}.log"
        self._position = 0
        self._tail = b""
        #: The beginning of a line whose end is not written yet.
        self._pending = b""

    def last_lines(self, count: int) -> list[str]:
        """Return the last whole lines, also from rotated copies."""
        data = self._read(self._path, 0)
        self._position, self._tail = len(data), data[-_TAIL:]
        copies = self._copies()
        while data.count(b"\n") <= count and (copy := next(copies, None)) is not None:
            data = self._read(copy, 0) + data
        *lines, self._pending = data.split(b"\n")
        return [_text(line) for line in lines[max(0, len(lines) - count) :]]

    def unfinished_line(self) -> list[str]:
        """Return the last line if its end is not written yet, else nothing."""
        return [_text(self._pending)] if self._pending else []

    def new_lines(self) -> list[str]:
        """Return the whole lines that were added since the last call."""
        data = b""
        if self._size() < self._position:
            data, self._position = self._rest_of_copy(), 0
        added = self._read(self._path, self._position)
        self._position += len(added)
        data += added
        self._tail = (self._tail + data)[-_TAIL:]
        *lines, self._pending = (self._pending + data).split(b"\n")
        return [_text(line) for line in lines]

    def _rest_of_copy(self) -> bytes:
        """Return what was added before the log was emptied, and not read."""
        copy = self._read(self._path.with_name(f"{self._path.name}.1"), 0)
        place = copy.rfind(self._tail) if self._tail else -1
        return copy if place < 0 else copy[place + len(self._tail) :]

    def _copies(self) -> Iterator[Path]:
        """Yield the rotated copies, the newest first."""
        number = 1
        while (copy := self._path.with_name(f"{self._path.name}.{number}")).exists():
            yield copy
            number += 1

    def _size(self) -> int:
        with suppress(FileNotFoundError):
            return self._path.stat().st_size
        return 0

    @staticmethod
    def _read(path: Path, position: int) -> bytes:
        try:
            fd = open_own_file(path, os.O_RDONLY, may_have_links=True)
        except (FileNotFoundError, ForeignFileError):
            return b""
        with os.fdopen(fd, "rb") as file:
            file.seek(position)
            return file.read(_MOST)


def _text(line: bytes) -> str:
    return line.decode(errors="replace").rstrip("\r")
