"""Checks, before a download starts, that a folder's file system has what a safe download needs.

Required are locks, and either hard links or renames. Without the check, a lack would be found only when
the whole file has been fetched.
"""

from __future__ import annotations

import fcntl
import os
import threading
import uuid
from contextlib import suppress
from pathlib import Path

from domain.errors import PermanentError, SeenError
from domain.files import WORKING_PREFIX
from seen_local.own_files import UNSUPPORTED_ERRNOS, create_own_file, open_folder
from worker.storage.disk_errors import disk_errors
from worker.storage.errno_table import FileOperation

#: Folders whose result is kept.
_MAX_KNOWN = 1000

_known: dict[tuple[int, int], frozenset[int]] = {}
_mutex = threading.Lock()


def trusted_uids(directory: Path, folder: int) -> frozenset[int]:
    """Check the folder, once a process, and return the users whose files in it are trusted.

    These are this process's user, the folder's owner, and the user to whom this file system gives new
    files (an NFS server that maps users, a share mounted for one user).

    Args:
        directory: its path, for messages.
        folder: its descriptor.

    Raises:
        PermanentError: the file system lacks what is needed; `code` is ``unsuitable_folder``.
        TransientError: the folder cannot be used now.
    """
    with disk_errors(FileOperation.EXAMINE, directory):
        status = os.fstat(folder)
    key = (status.st_dev, status.st_ino)
    with _mutex:
        known = _known.get(key)
    if known is None:
        known = probe_folder(directory, folder)
        with _mutex:
            if len(_known) >= _MAX_KNOWN:
                _known.clear()
            _known[key] = known
    return known


def folder_error(directory: Path) -> SeenError | None:
    """Return the error that downloads into an existing folder would meet now, or None."""
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


def probe_folder(directory: Path, folder: int) -> frozenset[int]:
    """Try each required operation with a temporary file; result and errors as of `trusted_uids`."""
    # Named like a part file, so that the sweeper removes it after a crash.
    probe = directory / f"{WORKING_PREFIX}{uuid.uuid4()}.tmp"  # `is_probe_file` knows this form
    second = probe.with_suffix(".new")
    with disk_errors(FileOperation.OPEN, directory):
        fd = create_own_file(probe, folder=folder)
    try:
        with disk_errors(FileOperation.EXAMINE, directory):
            owners = {os.fstat(fd).st_uid, os.fstat(folder).st_uid}
        _try_lock(directory, fd)
        if not _can_link(probe, second, folder):
            _try_rename(probe, second, folder)
    finally:
        os.close(fd)
        for path in (probe, second):
            with suppress(OSError):  # it is gone, or the sweeper removes it
                os.unlink(path.name, dir_fd=folder)
    return frozenset({os.geteuid(), *owners})


def is_probe_file(name_id: str) -> bool:
    """Return whether the id in a working file's name is a probe's: a random UUID, unlike a job's."""
    with suppress(ValueError):
        return uuid.UUID(name_id).version == 4
    return False


def _try_lock(directory: Path, fd: int) -> None:
    with disk_errors(FileOperation.LOCK, directory):
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _can_link(probe: Path, second: Path, folder: int) -> bool:
    try:
        os.link(probe.name, second.name, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError as error:
        if error.errno in UNSUPPORTED_ERRNOS:
            return False
        with disk_errors(FileOperation.OPEN, probe.parent):
            raise
    return True


def _try_rename(probe: Path, second: Path, folder: int) -> None:
    try:
        os.rename(probe.name, second.name, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError as error:
        if error.errno in UNSUPPORTED_ERRNOS:
            raise PermanentError(
                f"The folder {probe.parent} allows neither hard links nor renames ({error.strerror}): "
                "a finished file could not be published there. Choose another folder (-o, "
                "SEEN_DOWNLOAD_DIR).",
                code="unsuitable_folder",
            ) from error
        with disk_errors(FileOperation.OPEN, probe.parent):
            raise
