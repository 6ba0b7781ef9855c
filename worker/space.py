"""Room on disk: what running downloads of this process have promised to write, summed over a volume."""

from __future__ import annotations

import shutil
import threading
from collections import Counter
from pathlib import Path

from domain.errors import DiskFullError, PermanentError
from worker.disk_errors import disk_errors
from worker.disk_verdicts import Step
from worker.part_file import PartFile


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
        #: By file: its volume, and for how many bytes room is still to be found.
        self._promised: dict[PartFile, tuple[int, int]] = {}
        self._sums: Counter[int] = Counter()

    def reserve(self, part: PartFile, total: int) -> None:
        """Promise `part` room for `total` bytes, instead of what was promised to it before.

        Raises:
            DiskFullError: with what others will write, they do not fit.
            PermanentError: they would not fit if the volume were empty: waiting would have no end.
        """
        device, missing = part.device, max(0, total - part.allocated)
        free = _free(part.path.parent)
        with self._mutex:
            others = self._sums[device] - self._missing(part)
            if missing + others + self._keep_free > free:
                _check_volume(part.path.parent, total)
                raise DiskFullError(
                    f"{missing:,} bytes are missing, {others:,} are promised to other downloads and "
                    f"{self._keep_free:,} stay free, but {part.path.parent} has only {free:,}."
                )
            self._promise(part, device, missing)

    def found(self, part: PartFile, left: int) -> None:
        """Note that all but `left` bytes of `part` have their room: written, or set aside."""
        with self._mutex:
            if part in self._promised:
                self._promise(part, self._promised[part][0], left)

    def release(self, part: PartFile) -> None:
        """Nothing is promised to `part` any more."""
        with self._mutex:
            if part in self._promised:
                self._promise(part, self._promised[part][0], 0)
                del self._promised[part]

    def _missing(self, part: PartFile) -> int:
        return self._promised.get(part, (0, 0))[1]

    def _promise(self, part: PartFile, device: int, size: int) -> None:
        self._sums[device] += size - self._missing(part)
        self._promised[part] = (device, size)


def _check_volume(directory: Path, total: int) -> None:
    with disk_errors(Step.LOOK, directory):
        volume = shutil.disk_usage(directory).total
    if total > volume:
        raise PermanentError(
            f"The file has {total:,} bytes; all of the volume of {directory} has {volume:,}.",
            code="too_large",
        )


def _free(directory: Path) -> int:
    with disk_errors(Step.LOOK, directory):
        return shutil.disk_usage(directory).free
