"""Asks a folder, before anything is put there, for what a safe download needs of its file system.

Needed are locks, and either hard links or renames. What is missing is told at once, before the first
byte; it would else be found when the whole file has come.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from domain.errors import PermanentError, SeenError
from domain.files import WORKING_PREFIX
from worker.storage.disk_errors import disk_errors
from worker.storage.errno_table import FileOperation
from worker.storage.own_files import create_own_file, open_folder

#: How file systems say that they do not do this, or not here.
UNSUPPORTED_ERRNOS = frozenset(
    {
        errno.EPERM,
        errno.EACCES,
        errno.EINVAL,
        errno.EOPNOTSUPP,
        errno.ENOSYS,
        errno.EMLINK,
        errno.EXDEV,
    }
)
#: So many folders are remembered.
_MOST = 1000


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a folder's file system can do.

    Attributes:
        uids: whose files are ours: this process's user, the folder's owner, and the user that this file
            system gives new files to (an NFS server that maps users, a share mounted for one user).
    """

    uids: frozenset[int]


_known: dict[tuple[int, int], Abilities] = {}
_mutex = threading.Lock()


def abilities(directory: Path, folder: int) -> Abilities:
    """Return what the folder can do; it is asked once a process.

    Args:
        directory: its path, for messages.
        folder: its descriptor.

    Raises:
        PermanentError: it lacks what is needed; `code` is ``unsuitable_folder``.
        TransientError: it cannot be used for now.
    """
    with disk_errors(FileOperation.EXAMINE, directory):
        status = os.fstat(folder)
    key = (status.st_dev, status.st_ino)
    with _mutex:
        known = _known.get(key)
    if known is None:
        known = probe_folder(directory, folder)
        with _mutex:
            if len(_known) >= _MOST:
                _known.clear()
            _known[key] = known
    return known


def folder_error(directory: Path) -> SeenError | None:
    """Return what keeps files from being put into an existing folder now; None when nothing does."""
    try:
        with disk_errors(FileOperation.OPEN, directory):
            folder = open_folder(directory, make=False)
        try:
            probe_folder(directory, folder)
        finally:
            os.close(folder)
    except SeenError as error:
        return error
    return None


def probe_folder(directory: Path, folder: int) -> Abilities:
    """Try everything that is needed with a file that is removed again.

    Raises:
        PermanentError, TransientError: as `abilities`.
    """
    # Named like a part file, so that the sweep removes what a crash leaves.
    trial = directory / f"{WORKING_PREFIX}{uuid.uuid4()}.tmp"  # as `is_probe_file` knows it
    second = trial.with_suffix(".new")
    with disk_errors(FileOperation.OPEN, directory):
        fd = create_own_file(trial, folder=folder)
    try:
        owners = {os.fstat(fd).st_uid, os.fstat(folder).st_uid}
        _try_lock(directory, fd)
        if not _can_link(trial, second, folder):
            _try_rename(trial, second, folder)
    finally:
        os.close(fd)
        for path in (trial, second):
            _remove(path, folder)
    return Abilities(uids=frozenset({os.geteuid(), *owners}))


def is_probe_file(name_id: str) -> bool:
    """Say whether the id in a working name is a trial file's: a random UUID, as no job has one."""
    with suppress(ValueError):
        return uuid.UUID(name_id).version == 4
    return False


def _try_lock(directory: Path, fd: int) -> None:
    with disk_errors(FileOperation.LOCK, directory):
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _can_link(trial: Path, second: Path, folder: int) -> bool:
    try:
        os.link(trial.name, second.name, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError as error:
        if error.errno in UNSUPPORTED_ERRNOS:
            return False
        with disk_errors(FileOperation.OPEN, trial.parent):
            raise
    return True


def _try_rename(trial: Path, second: Path, folder: int) -> None:
    try:
        os.rename(trial.name, second.name, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError as error:
        if error.errno in UNSUPPORTED_ERRNOS:
            raise PermanentError(
                f"The folder {trial.parent} allows neither hard links nor renames "
                f"({error.strerror}): a finished file could not get its name there. Choose another "
                "folder (-o, SEEN_DOWNLOAD_DIR).",
                code="unsuitable_folder",
            ) from error
        with disk_errors(FileOperation.OPEN, trial.parent):
            raise


def _remove(path: Path, folder: int) -> None:
    with suppress(OSError):  # it has the other name, or the sweep removes it
        os.unlink(path.name, dir_fd=folder)
