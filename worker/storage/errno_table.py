"""What an error of the file system means for a job: one table, by errno and by what was asked.

The table is in `_DEFAULTS` (an errno, whatever was asked) and `_EXCEPTIONS` (where a step gives it
another meaning). Every errno that Linux documents for these calls is in it; one that is not uses up an
attempt, so that the number of attempts bounds what is unknown.

EACCES, EPERM and EROFS wait where the folder exists or lies inside the download folder: it took files
before, a mount or a permission changed, and that changes back without the job's doing. They fail at once
where a folder that the job names, outside the download folder, cannot be made: it never took a file, and
only the person who named it can choose another.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from enum import Enum, StrEnum
from types import MappingProxyType


class FileOperation(StrEnum):
    """What the file system was asked to do. The values complete "… could not be"."""

    CREATE_FOLDER = "made"
    """A folder inside the service's download folder, or that folder itself."""
    CREATE_GIVEN_FOLDER = "made in that place"
    """A folder elsewhere, which the job names."""
    OPEN = "opened"
    LOCK = "locked"
    WRITE = "written"
    """Also: truncated."""
    READ = "read"
    SYNC = "synced"
    NAME = "named"
    """Linked or renamed to the name that a person sees."""
    REMOVE = "removed"
    EXAMINE = "examined"
    """stat, statvfs, the entries of a folder."""
    OPTIONAL = "adjusted"
    """Mode, times, preallocation, sync of a directory: a file is complete and safe without them."""


class ErrorKind(Enum):
    """What follows from an error."""

    FULL = "wait for room, use no attempt"
    UNAVAILABLE = "the worker's disk is in trouble: wait, keep the bytes, use no attempt"
    RESOURCES = "the process has too little memory or too few descriptors: use no attempt"
    BUSY = "another process has the file open: wait, use no attempt"
    RETRY = "try again, use an attempt"
    BAD_NAME = "the file system refuses this name: use another one, once"
    BAD_PATH = "nothing can ever be there: fail"
    TOO_LARGE = "the file system has no files so large: fail"
    UNSUITABLE = "the file system cannot do what safety needs: fail"
    IGNORE = "go on without it"


_DEFAULTS: Mapping[int, ErrorKind] = MappingProxyType(
    {
        errno.ENOSPC: ErrorKind.FULL,
        errno.EDQUOT: ErrorKind.FULL,
        # The disk, its mount, or the server that it is on.
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
        # This process, or the machine, for the moment.
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
        # What this file system does not do.
        errno.ENOSYS: ErrorKind.UNSUITABLE,
        errno.EOPNOTSUPP: ErrorKind.UNSUITABLE,
        errno.ENOTTY: ErrorKind.UNSUITABLE,
        errno.EXDEV: ErrorKind.UNSUITABLE,
        errno.EMLINK: ErrorKind.UNSUITABLE,
        errno.ENOLCK: ErrorKind.UNSUITABLE,
        # Removed or put there by another program, or a fault of this one.
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
    errno.ENOENT: ErrorKind.BAD_PATH,  # a file system such as /proc, in which no folder can be made
    errno.EEXIST: ErrorKind.BAD_PATH,  # something that is not a folder has the name
    errno.EINVAL: ErrorKind.BAD_PATH,  # a name that this file system refuses
    errno.EILSEQ: ErrorKind.BAD_PATH,
    errno.EMLINK: ErrorKind.BAD_PATH,  # its parent has as many folders as it can have
}
#: How file systems say that they do not do this, or not for this user.
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
#: How they say that they have no fsync for a file.
_CANNOT_SYNC = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTTY)
_EXCEPTIONS: Mapping[FileOperation, Mapping[int, ErrorKind]] = MappingProxyType(
    {
        FileOperation.CREATE_FOLDER: _BAD_FOLDER,
        FileOperation.CREATE_GIVEN_FOLDER: {
            **_BAD_FOLDER,
            errno.EACCES: ErrorKind.BAD_PATH,
            errno.EPERM: ErrorKind.BAD_PATH,
            errno.EROFS: ErrorKind.BAD_PATH,
        },
        # Working names are plain ASCII: a file system that refuses them takes none of our files.
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
        # A file system that cannot sync a file (some shares and FUSE): what is there is checked by its
        # digests, and no other folder of it could do more.
        FileOperation.SYNC: dict.fromkeys(_CANNOT_SYNC, ErrorKind.IGNORE),
        # The size of a volume, not of a file.
        FileOperation.EXAMINE: {errno.EOVERFLOW: ErrorKind.RETRY},
        FileOperation.OPTIONAL: dict.fromkeys(_UNSUPPORTED_OPTIONAL, ErrorKind.IGNORE),
    }
)


def error_kind(step: FileOperation, number: int | None) -> ErrorKind:
    """Return what errno `number` means when a file system gives it for `step`."""
    if number is None:
        return ErrorKind.RETRY
    default = _DEFAULTS.get(number, ErrorKind.RETRY)
    return _EXCEPTIONS.get(step, {}).get(number, default)


def listed_errnos() -> frozenset[int]:
    """Return every errno that the table has a line for."""
    return frozenset(_DEFAULTS)
