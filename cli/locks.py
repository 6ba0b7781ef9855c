"""File locks between processes: the kernel lets go of them when their holder ends, however it ends."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Self

_POLL = 0.02


class FileLock:
    """One `flock` on one file. As a context manager it waits for an exclusive lock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = -1

    @property
    def is_held(self) -> bool:
        """Whether this object holds it."""
        return self._fd >= 0

    def acquire(self, *, shared: bool = False, patience: float = 0.0) -> bool:
        """Take the lock; False when others kept it for `patience` seconds."""
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        how = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB
        end = time.monotonic() + patience
        try:
            while True:
                try:
                    fcntl.flock(fd, how)
                except BlockingIOError:
                    if time.monotonic() >= end:
                        return False
                    time.sleep(_POLL)
                else:
                    self._fd, fd = fd, -1
                    return True
        finally:
            if fd >= 0:
                os.close(fd)

    def release(self) -> None:
        """Let go of it; nothing happens when it is not held."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        self.acquire(patience=float("inf"))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def is_locked(path: Path) -> bool:
    """Say whether some process holds the exclusive lock of a file; creates nothing."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
