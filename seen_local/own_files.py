"""Opens the service's own files safely in folders where other users can write, too.

Another program may have put something else at the name of a working file: a symbolic or hard link, a
FIFO, a device, a file of another user. None of these is read or written. Names are looked up relative
to a folder's descriptor, so a folder that is replaced by a link in the meantime has no effect.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

from domain.errors import PermanentError

_SAFE_FLAGS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
#: For a descriptor to look names up with, which needs no permission to list the folder.
_LOOKUP_FLAGS = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: What file systems return for links and renames that they do not support.
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
#: Errors from opening something other than a regular file, or a file of another user.
_NOT_REGULAR_ERRNOS = {
    errno.ELOOP,
    errno.EMLINK,
    errno.ENXIO,
    errno.EISDIR,
    errno.ENODEV,
    errno.EACCES,
    errno.EPERM,
}
#: Errors from removing a folder, or a file of another user.
_NOT_REMOVABLE_ERRNOS = {errno.EISDIR, errno.EPERM, errno.EACCES, errno.EBUSY}
#: Files that are read whole are never larger. Bytes.
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
    """The name of a working file is taken by something that the service did not create.

    Args:
        path: the name.
        kind: "a symbolic link", "a FIFO", ….
    """

    def __init__(self, path: Path | str, kind: str) -> None:
        self.kind = kind
        super().__init__(
            f"{path} is {kind}, not a file of this service. Remove it.", code="foreign_file"
        )


def open_own_file(
    path: Path | str,
    flags: int,
    *,
    folder: int | None = None,
    uids: frozenset[int] | None = None,
    may_have_links: bool = False,
) -> int:
    """Open a file of the service and return its descriptor; a new file gets mode 0600.

    Args:
        path: the file; with `folder`, only its name is used.
        flags: as for `os.open`. Not O_TRUNC, which would empty a foreign file before it is checked.
        folder: a folder's descriptor.
        uids: users whose files are trusted; by default this process's and the folder's owner.
        may_have_links: accept a file with several names.

    Raises:
        ForeignFileError: the name is taken by something else, which was neither read nor changed.
        OSError: as `os.open`.
    """
    name = path if folder is None else _name(path)
    try:
        fd = os.open(name, flags | _SAFE_FLAGS, 0o600, dir_fd=folder)
    except OSError as error:
        if error.errno in _NOT_REGULAR_ERRNOS:
            _refuse_foreign(path, _stat_or_none(name, folder), uids, may_have_links=True)
        raise
    if flags & os.O_EXCL:
        return fd  # a new file
    try:
        _refuse_foreign(path, os.fstat(fd), uids, may_have_links=may_have_links)
    except BaseException:
        os.close(fd)
        raise
    return fd


def create_own_file(path: Path | str, *, folder: int | None = None) -> int:
    """Create a new file for writing; anything that has its name is removed first.

    Raises:
        ForeignFileError: the name is taken by a folder, or by a file that this user may not remove.
    """
    name = path if folder is None else _name(path)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _SAFE_FLAGS
    try:
        return os.open(name, flags, 0o600, dir_fd=folder)
    except FileExistsError:
        remove_name(path, folder=folder)
        return os.open(name, flags, 0o600, dir_fd=folder)


def remove_name(path: Path | str, *, folder: int | None = None) -> bool:
    """Remove the name of a working file and return whether it existed; a link's target stays.

    Raises:
        ForeignFileError: the name is taken by a folder, or by a file that this user may not remove.
    """
    name = path if folder is None else _name(path)
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
    path: Path | str,
    *,
    folder: int | None = None,
    uids: frozenset[int] | None = None,
    may_have_links: bool = False,
) -> bytes:
    """Return the content of a small file of the service.

    Raises:
        ForeignFileError, OSError: as `open_own_file`.
        ValueError: it is larger than the service would write.
    """
    fd = open_own_file(path, os.O_RDONLY, folder=folder, uids=uids, may_have_links=may_have_links)
    with os.fdopen(fd, "rb") as file:
        text = file.read(_MAX_TEXT_BYTES + 1)
    if len(text) > _MAX_TEXT_BYTES:
        raise ValueError(f"{path} is too long.")
    return text


def move_name(source: Path | str, target: Path | str, *, folder: int) -> None:
    """Rename a file within a folder and replace `target`; on a file system without renames, by links."""
    old, new = _name(source), _name(target)
    try:
        os.rename(old, new, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError as error:
        if error.errno not in UNSUPPORTED_ERRNOS:
            raise
        refusal = error
    else:
        return
    trial = old.rpartition(".")[0] + ".try"
    try:
        os.link(old, trial, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError:
        raise refusal from None
    os.unlink(trial, dir_fd=folder)
    with suppress(FileNotFoundError):
        os.unlink(new, dir_fd=folder)
    os.link(old, new, src_dir_fd=folder, dst_dir_fd=folder)
    os.unlink(old, dir_fd=folder)


def _name(path: Path | str) -> str:
    return str(path).rpartition("/")[2]


def open_folder(directory: Path, *, make: bool = True) -> int:
    """Return a descriptor of a folder; create it and its parents if they are missing.

    Args:
        directory: absolute and resolved; a symbolic link in it is refused (ENOTDIR).
        make: create missing folders; otherwise raise FileNotFoundError.
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
    with suppress(FileExistsError):  # another process has just created it
        os.mkdir(name, dir_fd=folder)
    return os.open(name, _LOOKUP_FLAGS, dir_fd=folder)


def _readable(fd: int) -> int:
    """Return a descriptor that allows fsync and listing, if the folder may be read; close `fd` then."""
    try:
        opened = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
    except PermissionError:
        return fd  # a folder that may be written to but not listed
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
    path: Path | str,
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
            uids = frozenset({Path(path).parent.stat().st_uid})
        kind = None if status.st_uid in uids else "a file of another user"
    if kind is None and status.st_nlink > 1 and not may_have_links:
        kind = "a file with another name (a hard link)"
    if kind is not None:
        raise ForeignFileError(path, kind)


def _kind(status: os.stat_result) -> str | None:
    """Return a description of something other than a regular file; None for a regular file."""
    for matches, kind in _KINDS:
        if matches(status.st_mode):
            return kind
    return None
