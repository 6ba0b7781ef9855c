"""Reserves free disk space for the running downloads of this process, by volume.

A file of known size reserves its space once. A file of unknown size reserves more in steps while it
grows. In both cases `keep_free` bytes of the volume stay free.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from typing import Protocol

from domain.errors import DiskFullError, PermanentError
from domain.files import MAX_SIZE
from worker.storage.disk_errors import optional_operation

#: A file of unknown size reserves so many bytes at once, to limit the number of statvfs calls.
GROWTH_STEP = 2**20

#: Kept free besides, for the checkpoint and the record beside a part file: some blocks of 4 KiB.
BESIDE_PART_FILE = 2**14


class DiskFile(Protocol):
    """A file that space is reserved for."""

    @property
    def folder(self) -> str:
        """The path of its folder."""

    @property
    def device(self) -> int:
        """The file system's number."""

    @property
    def allocated(self) -> int:
        """Bytes of the disk that it occupies."""


class DiskSpace:
    """The reserved space of every volume.

    Reserved are the bytes that a file will still need. Bytes that are written or allocated are no
    longer free on the volume, so they are not counted here.

    Args:
        keep_free: bytes that stay free on each volume.
    """

    def __init__(self, keep_free: int) -> None:
        self._keep_free = keep_free
        self._untouched = keep_free + BESIDE_PART_FILE if keep_free else 0
        self._mutex = threading.Lock()
        #: By file: its volume, and the bytes reserved for it.
        self._reserved: dict[DiskFile, tuple[int, int]] = {}
        self._sums: Counter[int] = Counter()
        #: By file of unknown size: the bytes written so far.
        self._growing: dict[DiskFile, int] = {}

    def reserve(self, part: DiskFile, total: int) -> None:
        """Reserve space so that `part` can have `total` bytes; replaces its earlier reservation.

        Raises:
            DiskFullError: they do not fit beside the other reservations.
            PermanentError: they would not even fit on the empty volume.
        """
        device, missing = part.device, max(0, total - part.allocated)
        with self._mutex:
            # Under the mutex: bytes that are written from now on are still counted as reserved.
            free = _free(part.folder)
            others = self._sums[device] - self._missing(part)
            if missing + others + self._untouched > free:
                _check_volume(part.folder, total)
                raise DiskFullError(
                    f"{missing:,} more bytes are needed, {others:,} are reserved by other downloads and "
                    f"{self._keep_free:,} must stay free, but {part.folder} has only {free:,} free."
                )
            self._growing.pop(part, None)  # its size is known now
            self._set_reserved(part, device, missing)

    def reserve_growth(self, part: DiskFile, size: int) -> None:
        """Reserve space for at least `size` more bytes of `part`, whose size is unknown.

        Raises:
            DiskFullError: they do not fit beside the other reservations.
        """
        with self._mutex:
            if self._missing(part) >= size:
                return
            folder, device = part.folder, part.device
            others = self._sums[device] - self._missing(part)
            free = _free(folder)
            available = free - others - self._untouched
            if available < size:
                grown = self._growing.get(part, 0)
                raise DiskFullError(
                    f"The origin sends no size for the file, and only {grown:,} bytes of it fit: "
                    f"{folder} has {free:,} bytes free, {self._keep_free:,} must stay free and "
                    f"{others:,} are reserved by other downloads.",
                    uses_attempt=free - self._untouched < size and self._is_largest(part),
                )
            self._growing.setdefault(part, 0)
            self._set_reserved(part, device, min(available, max(size, GROWTH_STEP)))

    def mark_written(self, part: DiskFile, size: int) -> None:
        """Subtract `size` bytes, now written or allocated, from the reservation of `part`."""
        with self._mutex:
            if part in self._reserved:
                device, missing = self._reserved[part]
                self._set_reserved(part, device, max(0, missing - size))
                if part in self._growing:
                    self._growing[part] += size

    def is_largest_growing_file(self, part: DiskFile) -> bool:
        """Return whether `part` has written most of all files of unknown size on its volume."""
        with self._mutex:
            return self._is_largest(part)

    def release(self, part: DiskFile) -> None:
        """Drop the reservation of `part`."""
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


def _check_volume(directory: str, total: int) -> None:
    volume = _usage(directory)
    if volume is not None and total > volume[0]:
        raise PermanentError(
            f"The file has {total:,} bytes; the whole volume of {directory} has {volume[0]:,}.",
            code="too_large",
        )


def _free(directory: str) -> int:
    """Return the free bytes of a volume; MAX_SIZE if its file system does not report them."""
    usage = _usage(directory)
    return MAX_SIZE if usage is None else usage[1]


def _usage(directory: str) -> tuple[int, int] | None:
    """Return the (total, free) bytes of a volume; None if its file system does not report them."""
    with optional_operation(directory):
        found = os.statvfs(directory)
        return found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize
    return None
