"""Room on disk: what running downloads of this process have promised to write, summed over a volume."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

from domain.errors import DiskFullError
from worker.part_file import PartFile, disk_errors


class Space:
    """The free room of every volume, less what is promised already.

    A promise is a size that a file is to have. What the file holds of it, written or set aside, is no
    longer among the free bytes, and so is not counted again.

    Args:
        keep_free: bytes that stay free on each volume.
    """

    def __init__(self, keep_free: int) -> None:
        self._keep_free = keep_free
        self._mutex = threading.Lock()
        self._promised: dict[PartFile, int] = {}

    def reserve(self, part: PartFile, total: int) -> None:
        """Promise `part` room for `total` bytes, instead of what was promised to it before.

        Raises:
            DiskFullError: with what others will write, they do not fit.
        """
        with self._mutex:
            missing = _missing(part, total)
            others = sum(
                _missing(other, size)
                for other, size in self._promised.items()
                if other is not part and other.device == part.device
            )
            free = _free(part.path.parent)
            if missing + others + self._keep_free > free:
                raise DiskFullError(
                    f"{missing:,} bytes are missing, {others:,} are promised to other downloads and "
                    f"{self._keep_free:,} stay free, but {part.path.parent} has only {free:,}."
                )
            self._promised[part] = total

    def release(self, part: PartFile) -> None:
        """Nothing is promised to `part` any more."""
        with self._mutex:
            self._promised.pop(part, None)


def _missing(part: PartFile, total: int) -> int:
    return max(0, total - part.allocated)


def _free(directory: Path) -> int:
    with disk_errors():
        return shutil.disk_usage(directory).free
