"""Locks between processes (`flock`): the kernel releases them when their holder ends."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from domain.errors import SettingsError
from seen_local.own_files import open_own_file

_POLL = 0.02


class FileLock:
    """One `flock` on one file. As a context manager it waits for an exclusive lock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = -1

    @property
    def is_held(self) -> bool:
        """Whether this object holds the lock."""
        return self._fd >= 0

    def acquire(self, *, shared: bool = False, timeout: float = 0.0) -> bool:
        """Acquire the lock; return False when others held it for `timeout` seconds.

        Raises:
            SettingsError: the file system has no locks.
            ForeignFileError: the path is not a regular file of this user.
        """
        fd = open_own_file(self.path, os.O_RDWR | os.O_CREAT)
        how = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB
        end = time.monotonic() + timeout
        try:
            while True:
                try:
                    fcntl.flock(fd, how)
                except BlockingIOError:
                    if time.monotonic() >= end:
                        return False
                    time.sleep(_POLL)
                except OSError as error:
                    raise _no_locks(self.path, error) from error
                else:
                    self._fd, fd = fd, -1
                    return True
        finally:
            if fd >= 0:
                os.close(fd)

    def keep_over_exec(self) -> None:
        """Let the program that replaces this process hold the lock."""
        if self._fd >= 0:
            os.set_inheritable(self._fd, True)

    def release(self) -> None:
        """Release the lock; do nothing when it is not held."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        self.acquire(timeout=float("inf"))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def is_locked(path: Path) -> bool:
    """Return whether a process holds the exclusive lock of a file; the file is not created.

    Raises:
        SettingsError: the folder of the file cannot be used, or its file system has no locks.
        ForeignFileError: the path is not a regular file of this user.
    """
    try:
        fd = open_own_file(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise unusable_data_folder(path.parent, error) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError as error:
        raise _no_locks(path, error) from error
    finally:
        os.close(fd)
    return False


def unusable_data_folder(folder: Path, error: OSError) -> SettingsError:
    """Return the error of a data folder that cannot be entered."""
    return SettingsError(
        f"The data folder {folder} cannot be used: {error.strerror}. Set SEEN_DATA_DIR."
    )


def _no_locks(path: Path, error: OSError) -> SettingsError:
    return SettingsError(
        f"The data folder {path.parent} cannot be used: its file system refuses a lock on {path.name} "
        f"({error.strerror}). Set SEEN_DATA_DIR to a folder on a local disk, or mount it with locks."
    )
