"""What a file system error means for a job: a table by errno and operation.

`_DEFAULTS` maps an errno to its meaning, and `_EXCEPTIONS` overrides that for single operations. All
errnos that Linux documents for these calls are listed. An unlisted one uses up an attempt, so it cannot
make a job wait forever.

EACCES, EPERM and EROFS normally mean that a mount or a permission has changed, and the job waits until
that is corrected. If a folder that the job names outside the download folder cannot be created, the job
fails at once: only the caller can choose another folder.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from enum import Enum, StrEnum
from types import MappingProxyType


class FileOperation(StrEnum):
    """A group of system calls. The values complete "… could not be"."""

    CREATE_FOLDER = "created"
    """The download folder, or a folder inside it."""
    CREATE_FOLDER_OUTSIDE_ROOT = "created at that path"
    """A folder outside the download folder, which the job names."""
    OPEN = "opened"
    LOCK = "locked"
    WRITE = "written"
    """Also: truncated."""
    READ = "read"
    SYNC = "synced"
    NAME = "named"
    """Linked or renamed to the final name."""
    REMOVE = "removed"
    EXAMINE = "examined"
    """stat, statvfs, the entries of a folder."""
    OPTIONAL = "adjusted"
    """Mode, times, preallocation, fsync of a folder: a file is complete and safe without them."""


class ErrorKind(Enum):
    """What an error means for the job."""

    FULL = "the disk is full: wait, use no attempt"
    UNAVAILABLE = "the disk cannot be used now: wait, keep the bytes, use no attempt"
    RESOURCES = "the process has too little memory or too few descriptors: use no attempt"
    BUSY = "another process has the file open: wait, use no attempt"
    RETRY = "try again, use an attempt"
    BAD_NAME = "the file system refuses this name: use a fallback name"
    BAD_PATH = "no file can be created at this path: fail"
    TOO_LARGE = "the file system does not support files of this size: fail"
    UNSUITABLE = "the file system lacks what is needed: fail"
    IGNORE = "continue without it"


_DEFAULTS: Mapping[int, ErrorKind] = MappingProxyType(
    {
        errno.ENOSPC: ErrorKind.FULL,
        errno.EDQUOT: ErrorKind.FULL,
        # The disk, its mount, or its server.
        errno.EROFS: ErrorKind.UNAVAILABLE,
        errno.EACCES: ErrorKind.UNAVAILABLE,
        errno.EPERM: ErrorKind.UNAVAILABLE,
        errno.EIO: ErrorKind.UNAVAILABLE,
        errno.ENXIO: ErrorKind.UNAVAILABLE,
        errno.ENODEV: ErrorKind.UNAVAILABLE,
        errno.ENOMEDIUM: ErrorKind.UNAVAILABLE,
        errno.EMEDIUMTYPE: ErrorKind.UNAVAILABLE,
        errno.ESTALE: ErrorKind.UNAVAILABLE,
        errno.EREMOTEIO: ErrorKind.UNAVAILABLE,
        errno.EREMOTE: ErrorKind.UNAVAILABLE,
        errno.EUCLEAN: ErrorKind.UNAVAILABLE,
        errno.EBADMSG: ErrorKind.UNAVAILABLE,
        errno.ENODATA: ErrorKind.UNAVAILABLE,
        errno.EPROTO: ErrorKind.UNAVAILABLE,
        errno.ECOMM: ErrorKind.UNAVAILABLE,
        errno.ENOLINK: ErrorKind.UNAVAILABLE,
        errno.ETIME: ErrorKind.UNAVAILABLE,
        errno.ETIMEDOUT: ErrorKind.UNAVAILABLE,
        errno.EHOSTDOWN: ErrorKind.UNAVAILABLE,
        errno.EHOSTUNREACH: ErrorKind.UNAVAILABLE,
        errno.ENETDOWN: ErrorKind.UNAVAILABLE,
        errno.ENETUNREACH: ErrorKind.UNAVAILABLE,
        errno.ENETRESET: ErrorKind.UNAVAILABLE,
        errno.ENONET: ErrorKind.UNAVAILABLE,
        errno.ENOTCONN: ErrorKind.UNAVAILABLE,
        errno.ECONNREFUSED: ErrorKind.UNAVAILABLE,
        errno.ECONNRESET: ErrorKind.UNAVAILABLE,
        errno.ECONNABORTED: ErrorKind.UNAVAILABLE,
        errno.ESHUTDOWN: ErrorKind.UNAVAILABLE,
        errno.ENOKEY: ErrorKind.UNAVAILABLE,
        errno.EKEYEXPIRED: ErrorKind.UNAVAILABLE,
        errno.EKEYREVOKED: ErrorKind.UNAVAILABLE,
        errno.EKEYREJECTED: ErrorKind.UNAVAILABLE,
        errno.EBUSY: ErrorKind.UNAVAILABLE,
        errno.ETXTBSY: ErrorKind.UNAVAILABLE,
        errno.EINTR: ErrorKind.UNAVAILABLE,
        # This process or the machine lacks resources now.
        errno.EMFILE: ErrorKind.RESOURCES,
        errno.ENFILE: ErrorKind.RESOURCES,
        errno.ENOMEM: ErrorKind.RESOURCES,
        errno.ENOBUFS: ErrorKind.RESOURCES,
        errno.EAGAIN: ErrorKind.RESOURCES,
        # The size.
        errno.EFBIG: ErrorKind.TOO_LARGE,
        errno.EOVERFLOW: ErrorKind.TOO_LARGE,
        # The path.
        errno.ENOTDIR: ErrorKind.BAD_PATH,
        errno.EISDIR: ErrorKind.BAD_PATH,
        errno.ELOOP: ErrorKind.BAD_PATH,
        errno.ENAMETOOLONG: ErrorKind.BAD_PATH,
        errno.ENOTEMPTY: ErrorKind.BAD_PATH,
        # Not supported by this file system.
        errno.ENOSYS: ErrorKind.UNSUITABLE,
        errno.EOPNOTSUPP: ErrorKind.UNSUITABLE,
        errno.ENOTTY: ErrorKind.UNSUITABLE,
        errno.EXDEV: ErrorKind.UNSUITABLE,
        errno.EMLINK: ErrorKind.UNSUITABLE,
        errno.ENOLCK: ErrorKind.UNSUITABLE,
        # Caused by another program that changes these files, or by an error in this one.
        errno.ENOENT: ErrorKind.RETRY,
        errno.EEXIST: ErrorKind.RETRY,
        errno.EINVAL: ErrorKind.RETRY,
        errno.EILSEQ: ErrorKind.RETRY,
        errno.EBADF: ErrorKind.RETRY,
        errno.EFAULT: ErrorKind.RETRY,
        errno.EPIPE: ErrorKind.RETRY,
        errno.ESPIPE: ErrorKind.RETRY,
        errno.EDESTADDRREQ: ErrorKind.RETRY,
        errno.EDEADLK: ErrorKind.RETRY,
        errno.ESRCH: ErrorKind.RETRY,
    }
)

_BAD_FOLDER = {
    errno.ENOENT: ErrorKind.BAD_PATH,  # a file system without mkdir, such as /proc
    errno.EEXIST: ErrorKind.BAD_PATH,  # the name is taken by a file
    errno.EINVAL: ErrorKind.BAD_PATH,  # the file system refuses the name
    errno.EILSEQ: ErrorKind.BAD_PATH,
    errno.EMLINK: ErrorKind.BAD_PATH,  # the parent has the most subfolders it can have
}
#: What file systems return for an optional operation that they do not support.
_UNSUPPORTED_OPTIONAL = (
    errno.EPERM,
    errno.EACCES,
    errno.EINVAL,
    errno.ENOSYS,
    errno.EOPNOTSUPP,
    errno.ENOTTY,
    errno.EISDIR,
    errno.ENODEV,
    errno.ESPIPE,
    errno.ESRCH,
    errno.EINTR,
    errno.EXDEV,
)
#: What file systems return that have no fsync for files.
_CANNOT_SYNC = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTTY)
_EXCEPTIONS: Mapping[FileOperation, Mapping[int, ErrorKind]] = MappingProxyType(
    {
        FileOperation.CREATE_FOLDER: _BAD_FOLDER,
        FileOperation.CREATE_FOLDER_OUTSIDE_ROOT: {
            **_BAD_FOLDER,
            errno.EACCES: ErrorKind.BAD_PATH,
            errno.EPERM: ErrorKind.BAD_PATH,
            errno.EROFS: ErrorKind.BAD_PATH,
        },
        # Working names are plain ASCII: a file system that refuses them is unsuitable.
        FileOperation.OPEN: {
            errno.EINVAL: ErrorKind.UNSUITABLE,
            errno.EILSEQ: ErrorKind.UNSUITABLE,
        },
        FileOperation.LOCK: {
            errno.EAGAIN: ErrorKind.BUSY,
            errno.EACCES: ErrorKind.BUSY,  # CIFS
            errno.EPERM: ErrorKind.UNSUITABLE,
            errno.EINVAL: ErrorKind.UNSUITABLE,
        },
        FileOperation.NAME: {
            errno.ENAMETOOLONG: ErrorKind.BAD_NAME,
            errno.EINVAL: ErrorKind.BAD_NAME,
            errno.EILSEQ: ErrorKind.BAD_NAME,
        },
        # Some network shares and FUSE file systems have no fsync. Digests still protect the content,
        # and no other folder there would be safer.
        FileOperation.SYNC: dict.fromkeys(_CANNOT_SYNC, ErrorKind.IGNORE),
        # From statvfs: the size of a volume, not of a file.
        FileOperation.EXAMINE: {errno.EOVERFLOW: ErrorKind.RETRY},
        FileOperation.OPTIONAL: dict.fromkeys(_UNSUPPORTED_OPTIONAL, ErrorKind.IGNORE),
    }
)


def error_kind(operation: FileOperation, number: int | None) -> ErrorKind:
    """Return the meaning of errno `number` for `operation`."""
    if number is None:
        return ErrorKind.RETRY
    default = _DEFAULTS.get(number, ErrorKind.RETRY)
    return _EXCEPTIONS.get(operation, {}).get(number, default)
