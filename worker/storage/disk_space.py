"""Reserves free disk space for the running downloads of this process, by volume.

A file of known size reserves its space once. A file of unknown size reserves more in steps while it
grows. In both cases `keep_free` bytes of the volume stay free.
"""

from __future__ import annotations

import os
import threading
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


class _Volume:
    """The reservations of the files of one volume. To be used under its mutex."""

    def __init__(self) -> None:
        self.mutex = threading.Lock()
        self._reserved: dict[DiskFile, int] = {}
        self._sum = 0
        #: By file of unknown size: the bytes written so far.
        self.growing: dict[DiskFile, int] = {}

    def reserved(self, part: DiskFile) -> int:
        """Return the bytes reserved for a file."""
        return self._reserved.get(part, 0)

    def reserved_for_others(self, part: DiskFile) -> int:
        """Return the bytes reserved for all other files."""
        return self._sum - self.reserved(part)

    def reserve(self, part: DiskFile, size: int) -> None:
        """Replace the reservation of a file; one that was released has none."""
        self._sum += size - self.reserved(part)
        self._reserved[part] = size

    def release(self, part: DiskFile) -> None:
        """Drop the reservation of a file."""
        self.growing.pop(part, None)
        self._sum -= self._reserved.pop(part, 0)

    def mark_written(self, part: DiskFile, size: int) -> None:
        """Subtract bytes from the reservation of a file."""
        if part in self._reserved:
            self.reserve(part, max(0, self._reserved[part] - size))
            if part in self.growing:
                self.growing[part] += size

    def is_largest(self, part: DiskFile) -> bool:
        """Return whether a file has written most of all files of unknown size."""
        size = self.growing.get(part)
        return bool(size) and size == max(self.growing.values())


class DiskSpace:
    """The reserved space of every volume.

    Reserved are the bytes that a file will still need. Bytes that are written or allocated are no
    longer free on the volume, so they are not counted here. A volume that hangs holds up no other.

    Args:
        keep_free: bytes that stay free on each volume.
    """

    def __init__(self, keep_free: int) -> None:
        self._keep_free = keep_free
        self._untouched = keep_free + BESIDE_PART_FILE if keep_free else 0
        #: By number of the file system, and by file.
        self._volumes: dict[int, _Volume] = {}
        self._volume_of: dict[DiskFile, _Volume] = {}

    def reserve(self, part: DiskFile, total: int) -> None:
        """Reserve space so that `part` can have `total` bytes; replaces its earlier reservation.

        Raises:
            DiskFullError: they do not fit beside the other reservations.
            PermanentError: they would not even fit on the empty volume.
        """
        volume, missing = self._volume(part), max(0, total - part.allocated)
        with volume.mutex:
            # Under the mutex: bytes that are written from now on are still counted as reserved.
            free, others = _free(part.folder), volume.reserved_for_others(part)
            if missing + others + self._untouched > free:
                _check_volume(part.folder, total)
                raise DiskFullError(
                    f"{missing:,} more bytes are needed, {others:,} are reserved by other downloads and "
                    f"{self._keep_free:,} must stay free, but {part.folder} has only {free:,} free."
                )
            volume.growing.pop(part, None)  # its size is known now
            volume.reserve(part, missing)

    def reserve_growth(self, part: DiskFile, size: int) -> None:
        """Reserve space for at least `size` more bytes of `part`, whose size is unknown.

        Raises:
            DiskFullError: they do not fit beside the other reservations.
        """
        volume = self._volume(part)
        with volume.mutex:
            if volume.reserved(part) >= size:
                return
            free, others = _free(part.folder), volume.reserved_for_others(part)
            available = free - others - self._untouched
            if available < size:
                grown = volume.growing.get(part, 0)
                raise DiskFullError(
                    f"The origin sends no size for the file, and only {grown:,} bytes of it fit: "
                    f"{part.folder} has {free:,} bytes free, {self._keep_free:,} must stay free and "
                    f"{others:,} are reserved by other downloads.",
                    uses_attempt=free - self._untouched < size and volume.is_largest(part),
                )
            volume.growing.setdefault(part, 0)
            volume.reserve(part, min(available, max(size, GROWTH_STEP)))

    def mark_written(self, part: DiskFile, size: int) -> None:
        """Subtract `size` bytes, now written or allocated, from the reservation of `part`."""
        volume = self._volume_of.get(part)
        if volume is not None:
            with volume.mutex:
                volume.mark_written(part, size)

    def is_largest_growing_file(self, part: DiskFile) -> bool:
        """Return whether `part` has written most of all files of unknown size on its volume."""
        volume = self._volume_of.get(part)
        if volume is None:
            return False
        with volume.mutex:
            return volume.is_largest(part)

    def release(self, part: DiskFile) -> None:
        """Drop the reservation of `part`."""
        volume = self._volume_of.pop(part, None)
        if volume is not None:
            with volume.mutex:
                volume.release(part)

    def _volume(self, part: DiskFile) -> _Volume:
        """Return the volume of a file, which is looked up once: a file server may take long for it."""
        volume = self._volume_of.get(part)
        if volume is None:
            # Of two threads, `setdefault` lets one make it.
            volume = self._volumes.setdefault(part.device, _Volume())
            self._volume_of[part] = volume
        return volume


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
