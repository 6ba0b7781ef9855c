"""Room on disk: what running downloads of this process have promised to write, summed over a volume.

A file of known size asks once. One whose size nobody tells asks again and again while it grows, and gets
room in steps: whatever it does not tell, `keep_free` bytes stay free.
"""

from __future__ import annotations

import shutil
import threading
from collections import Counter
from pathlib import Path
from typing import Protocol

from domain.errors import DiskFullError, PermanentError
from domain.files import MAX_SIZE
from worker.storage.disk_errors import optional_operation

#: A file that grows is promised so many bytes at once: the system is asked seldom.
GROWTH_STEP = 2**20


class DiskFile(Protocol):
    """A file that space is reserved for."""

    @property
    def path(self) -> Path:
        """Its path."""

    @property
    def device(self) -> int:
        """The file system's number."""

    @property
    def allocated(self) -> int:
        """Bytes of the disk that it holds."""


class DiskSpace:
    """The free room of every volume, less what is promised already.

    A promise is a size that a file is to have. What the file holds of it, written or set aside, is no
    longer among the free bytes, and so is not counted again.

    Args:
        keep_free: bytes that stay free on each volume.
    """

    def __init__(self, keep_free: int) -> None:
        self._keep_free = keep_free
        self._mutex = threading.Lock()
        #: By file: its volume, and for how many bytes room is still to be found.
        self._reserved: dict[DiskFile, tuple[int, int]] = {}
        self._sums: Counter[int] = Counter()
        #: By file whose size is not known: how many bytes it has taken by growing.
        self._growing: dict[DiskFile, int] = {}

    def reserve(self, part: DiskFile, total: int) -> None:
        """Promise `part` room for `total` bytes, instead of what was promised to it before.

        Raises:
            DiskFullError: with what others will write, they do not fit.
            PermanentError: they would not fit if the volume were empty: waiting would have no end.
        """
        device, missing = part.device, max(0, total - part.allocated)
        with self._mutex:
            # Asked in here: what is written after this is still promised when it is counted.
            free = _free(part.path.parent)
            others = self._sums[device] - self._missing(part)
            if missing + others + self._keep_free > free:
                _check_volume(part.path.parent, total)
                raise DiskFullError(
                    f"{missing:,} bytes are missing, {others:,} are promised to other downloads and "
                    f"{self._keep_free:,} stay free, but {part.path.parent} has only {free:,}."
                )
            self._growing.pop(part, None)  # its size is known now
            self._set_reserved(part, device, missing)

    def reserve_growth(self, part: DiskFile, size: int) -> None:
        """Promise `part`, whose size is not known, room for `size` more bytes, or for more than that.

        Raises:
            DiskFullError: with what others will write, they do not fit.
        """
        with self._mutex:
            if self._missing(part) >= size:
                return
            folder, device = part.path.parent, part.device
            others = self._sums[device] - self._missing(part)
            free = _free(folder)
            room = free - others - self._keep_free
            if room < size:
                grown = self._growing.get(part, 0)
                raise DiskFullError(
                    "The origin does not tell the file's size, and there is no room for more than "
                    f"{grown:,} bytes of it: {folder} has {free:,} bytes free, {self._keep_free:,} stay "
                    f"free and {others:,} are promised to other downloads.",
                    uses_attempt=free - self._keep_free < size and self._is_largest(part),
                )
            self._growing.setdefault(part, 0)
            self._set_reserved(part, device, min(room, max(size, GROWTH_STEP)))

    def mark_written(self, part: DiskFile, size: int) -> None:
        """Note that `size` bytes of what was promised are written, or allocated."""
        with self._mutex:
            if part in self._reserved:
                device, missing = self._reserved[part]
                self._set_reserved(part, device, max(0, missing - size))
                if part in self._growing:
                    self._growing[part] += size

    def is_largest_growing_file(self, part: DiskFile) -> bool:
        """Say whether no other file of unknown size took more of the room than `part`."""
        with self._mutex:
            return self._is_largest(part)

    def release(self, part: DiskFile) -> None:
        """Nothing is promised to `part` any more."""
        with self._mutex:
            self._growing.pop(part, None)
            if part in self._reserved:
                self._set_reserved(part, self._reserved[part][0], 0)
                del self._reserved[part]

    def _is_largest(self, part: DiskFile) -> bool:
        if not self._growing.get(part):
            return False
        device = self._reserved[part][0]
        rivals = [size for one, size in self._growing.items() if self._reserved[one][0] == device]
        return self._growing[part] == max(rivals)

    def _missing(self, part: DiskFile) -> int:
        return self._reserved.get(part, (0, 0))[1]

    def _set_reserved(self, part: DiskFile, device: int, size: int) -> None:
        self._sums[device] += size - self._missing(part)
        self._reserved[part] = (device, size)


def _check_volume(directory: Path, total: int) -> None:
    volume = _usage(directory)
    if volume is not None and total > volume[0]:
        raise PermanentError(
            f"The file has {total:,} bytes; all of the volume of {directory} has {volume[0]:,}.",
            code="too_large",
        )


def _free(directory: Path) -> int:
    """Return the free bytes of a volume; those of the largest file where it does not tell."""
    usage = _usage(directory)
    return MAX_SIZE if usage is None else usage[1]


def _usage(directory: Path) -> tuple[int, int] | None:
    """Return (all, free) bytes of a volume; None where its file system does not tell."""
    with optional_operation(directory):
        usage = shutil.disk_usage(directory)
        return usage.total, usage.free
    return None
