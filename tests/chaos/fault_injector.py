"""The faults of a worker's clock: set by the run, read by the worker's own process."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

#: Bytes of the file.
_LENGTH = 128


@dataclass(frozen=True, slots=True)
class WorkerFaults:
    """A worker reads this from its file whenever it matters."""

    clock_ahead: float = 0.0
    """Seconds; negative when it is behind."""

    def write(self, path: Path) -> None:
        """Tell it to the worker that reads `path`: in place, since that worker has the file open."""
        fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.pwrite(fd, json.dumps(asdict(self)).encode().ljust(_LENGTH), 0)
        finally:
            os.close(fd)

    @classmethod
    def reader(cls, path: Path) -> Callable[[], WorkerFaults]:
        """Open the file, made where it is missing, and return what reads it.

        The descriptor is kept: the worker reads its clock without having any to spare, too.
        """
        fd = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)

        def read() -> WorkerFaults:
            text = os.pread(fd, _LENGTH, 0)
            return cls(**json.loads(text)) if text else cls()

        return read
