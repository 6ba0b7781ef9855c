"""Opening the service's own files where others can write, too: one function opens them all.

A name that the service works with may have been given to something else: a symbolic link to a file
elsewhere, a hard link, a FIFO that nothing writes to, a device, a file of another user. None of these is
ever opened for use. Names are looked up relative to a folder's descriptor, so that a folder that is
swapped for a link changes nothing.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

from domain.errors import PermanentError

_SAFE_FLAGS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
#: A descriptor to look names up with; it needs no permission to list the folder.
_LOOKUP_FLAGS = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: How the system refuses to open what is no regular file, or one of another user.
_NOT_REGULAR_ERRNOS = {
    errno.ELOOP,
    errno.EMLINK,
    errno.ENXIO,
    errno.EISDIR,
    errno.ENODEV,
    errno.EACCES,
    errno.EPERM,
}
#: How it refuses to remove what is a folder, or another user's.
_NOT_REMOVABLE_ERRNOS = {errno.EISDIR, errno.EPERM, errno.EACCES, errno.EBUSY}
#: No file that the service reads whole is larger. Bytes.
_MAX_TEXT_BYTES = 16 << 20

_KINDS = (
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class ForeignFileError(PermanentError):
    """Something that the service did not make has the name of one of its files.

    Args:
        path: the name.
        kind: what it is: "a symbolic link", "a FIFO", ….
    """

    def __init__(self, path: Path, kind: str) -> None:
        self.kind = kind
        super().__init__(
            f"{path} is {kind}, not a file of this service. Remove it.", code="foreign_file"
        )


def open_own_file(
    path: Path,
    flags: int,
    *,
    folder: int | None = None,
    uids: frozenset[int] | None = None,
    may_have_links: bool = False,
) -> int:
    """Open a file of ours, private to its owner when it is made, and return its descriptor.

    Args:
        path: of the file; its name is looked up in `folder` where that is given.
        flags: as `os.open` takes them. Not O_TRUNC: it would empty a file before it is looked at.
        folder: a folder's descriptor.
        uids: the users whose files count as ours; by default this process's and the folder's owner, who
            can do with the names in it what they like.
        may_have_links: a file with several names is ours as well.

    Raises:
        ForeignFileError: what has the name is none of ours. It was neither read nor changed.
        OSError: as `os.open`.
    """
    name = path.name if folder is not None else path
    try:
        fd = os.open(name, flags | _SAFE_FLAGS, 0o600, dir_fd=folder)
    except OSError as error:
        if error.errno in _NOT_REGULAR_ERRNOS:
            _refuse_foreign(path, _stat_or_none(name, folder), uids, may_have_links=True)
        raise
    try:
        _refuse_foreign(path, os.fstat(fd), uids, may_have_links=may_have_links)
    except BaseException:
        os.close(fd)
        raise
    return fd


def create_own_file(path: Path, *, folder: int | None = None) -> int:
    """Make a new file for writing; whatever else has its name is removed, and never written to.

    Raises:
        ForeignFileError: a folder, or something that only another user may remove, has the name.
    """
    name = path.name if folder is not None else path
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _SAFE_FLAGS
    try:
        return os.open(name, flags, 0o600, dir_fd=folder)
    except FileExistsError:
        remove_name(path, folder=folder)
        return os.open(name, flags, 0o600, dir_fd=folder)


def remove_name(path: Path, *, folder: int | None = None) -> bool:
    """Remove a name of ours, whatever has it, and say whether anything had; a link's target stays.

    Raises:
        ForeignFileError: a folder, or something that only another user may remove, has the name.
    """
    name = path.name if folder is not None else path
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return False
    except OSError as error:
        status = _stat_or_none(name, folder)
        if error.errno in _NOT_REMOVABLE_ERRNOS and status is not None:
            raise ForeignFileError(path, _kind(status) or "a file of another user") from error
        raise
    return True


def read_own_file(
    path: Path,
    *,
    folder: int | None = None,
    uids: frozenset[int] | None = None,
    may_have_links: bool = False,
) -> bytes:
    """Return what a small file of ours holds.

    Raises:
        ForeignFileError, OSError: as `open_own_file`.
        ValueError: it is larger than any that the service writes.
    """
    fd = open_own_file(path, os.O_RDONLY, folder=folder, uids=uids, may_have_links=may_have_links)
    with os.fdopen(fd, "rb") as file:
        text = file.read(_MAX_TEXT_BYTES + 1)
    if len(text) > _MAX_TEXT_BYTES:
        raise ValueError(f"{path} is too long.")
    return text


def open_folder(directory: Path, *, make: bool = True) -> int:
    """Return a descriptor of a folder, which is made with its parents where it is missing.

    Args:
        directory: absolute and resolved: a link on the way is refused (ENOTDIR).
        make: make what is missing; else that is a FileNotFoundError.
    """
    fd = os.open(directory.anchor, _LOOKUP_FLAGS)
    for part in directory.parts[1:]:
        try:
            child = _enter(part, fd, make=make)
        finally:
            os.close(fd)
        fd = child
    return _readable(fd)


def _enter(name: str, folder: int, *, make: bool) -> int:
    try:
        return os.open(name, _LOOKUP_FLAGS, dir_fd=folder)
    except FileNotFoundError:
        if not make:
            raise
    with suppress(FileExistsError):  # another process has just made it
        os.mkdir(name, dir_fd=folder)
    return os.open(name, _LOOKUP_FLAGS, dir_fd=folder)


def _readable(fd: int) -> int:
    """Return a descriptor that can be synced and listed, where the folder may be read."""
    try:
        opened = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
    except PermissionError:
        return fd  # a folder that one may put files into, and not list
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    return opened


def _stat_or_none(name: str | Path, folder: int | None) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError:
        return None


def _refuse_foreign(
    path: Path,
    status: os.stat_result | None,
    uids: frozenset[int] | None,
    *,
    may_have_links: bool,
) -> None:
    if status is None:
        return
    kind = _kind(status)
    if kind is None and status.st_uid != os.geteuid():
        if uids is None:
            uids = frozenset({path.parent.stat().st_uid})
        kind = None if status.st_uid in uids else "a file of another user"
    if kind is None and status.st_nlink > 1 and not may_have_links:
        kind = "a file that has another name, too"
    if kind is not None:
        raise ForeignFileError(path, kind)


def _kind(status: os.stat_result) -> str | None:
    """Return what something is that is no regular file; None for one."""
    for matches, kind in _KINDS:
        if matches(status.st_mode):
            return kind
    return None
