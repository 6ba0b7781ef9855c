"""Room on disk: what running downloads of this process have promised to write, summed over a volume."""

from __future__ import annotations

import shutil
import threading
from collections import Counter
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
        #: By file: its volume, and what it is still to be found room for.
        self._promised: dict[PartFile, tuple[int, int]] = {}
        self._sums: Counter[int] = Counter()

    def reserve(self, part: PartFile, missing: int) -> None:
        """Promise `missing` bytes to `part`, instead of what was promised to it before.

        Raises:
            DiskFullError: with what others will write, they do not fit.
        """
        device, free = part.device, _free(part.path.parent)
        with self._mutex:
            others = self._sums[device] - self._promised.get(part, (device, 0))[1]
            if missing + others + self._keep_free > free:
                raise DiskFullError(
                    f"{missing:,} bytes are missing, {others:,} are promised to other downloads and "
                    f"{self._keep_free:,} stay free, but {part.path.parent} has only {free:,}."
                )
            self._promise(part, device, missing)

    def wrote(self, part: PartFile, missing: int) -> None:
        """Note that only `missing` bytes of `part` are still to be found room for."""
        with self._mutex:
            if part in self._promised:
                self._promise(part, self._promised[part][0], missing)

    def release(self, part: PartFile) -> None:
        """Nothing is promised to `part` any more."""
        with self._mutex:
            device, size = self._promised.pop(part, (0, 0))
            self._sums[device] -= size

    def _promise(self, part: PartFile, device: int, size: int) -> None:
        before = self._promised.get(part, (device, 0))[1]
        self._promised[part] = (device, size)
        self._sums[device] += size - before


def _free(directory: Path) -> int:
    with disk_errors():
        return shutil.disk_usage(directory).free
