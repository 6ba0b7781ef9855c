"""Room on disk: what running downloads of this process have promised to write, summed over a volume."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

from domain.errors import DiskFullError
from worker.part_file import PartFile, disk_errors


class Space:
    """The free room of every volume, less what is promised already.

    Args:
        keep_free: bytes that stay free on each volume.
    """

    def __init__(self, keep_free: int) -> None:
        self._keep_free = keep_free
        self._mutex = threading.Lock()
        self._promised: dict[PartFile, int] = {}

    def reserve(self, part: PartFile, missing: int) -> None:
        """Promise `missing` bytes to `part`, instead of what was promised to it before.

        Raises:
            DiskFullError: with what others will write, they do not fit.
        """
        with self._mutex:
            others = sum(
                size
                for other, size in self._promised.items()
                if other is not part and other.device == part.device
            )
            free = _free(part.path.parent)
            if missing + others + self._keep_free > free:
                raise DiskFullError(
                    f"{missing:,} bytes are missing, {others:,} are promised to other downloads and "
                    f"{self._keep_free:,} stay free, but {part.path.parent} has only {free:,}."
                )
            self._promised[part] = missing

    def wrote(self, part: PartFile, missing: int) -> None:
        """Note that only `missing` bytes of `part` are still to be found room for."""
        with self._mutex:
            if part in self._promised:
                self._promised[part] = missing

    def release(self, part: PartFile) -> None:
        """Nothing is promised to `part` any more."""
        with self._mutex:
            self._promised.pop(part, None)


def _free(directory: Path) -> int:
    with disk_errors():
        return shutil.disk_usage(directory).free
