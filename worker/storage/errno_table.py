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


class Step(StrEnum):
    """What the file system was asked to do. The values complete "… could not be"."""

    MAKE_FOLDER = "made"
    """A folder inside the service's download folder, or that folder itself."""
    MAKE_GIVEN_FOLDER = "made in that place"
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
    LOOK = "examined"
    """stat, statvfs, the entries of a folder."""
    COURTESY = "adjusted"
    """Mode, times, preallocation, sync of a directory: a file is complete and safe without them."""


class Verdict(Enum):
    """What follows from an error."""

    FULL = "wait for room, use no attempt"
    UNAVAILABLE = "the worker's disk is in trouble: wait, keep the bytes, use no attempt"
    RESOURCES = "the process has too little memory or too few descriptors: use no attempt"
    BUSY = "another process has the file open: wait, use no attempt"
    ATTEMPT = "try again, use an attempt"
    BAD_NAME = "the file system refuses this name: use another one, once"
    BAD_PATH = "nothing can ever be there: fail"
    TOO_LARGE = "the file system has no files so large: fail"
    UNSUITABLE = "the file system cannot do what safety needs: fail"
    PASS_OVER = "go on without it"  # noqa: S105 - not a password


_DEFAULTS: Mapping[int, Verdict] = MappingProxyType(
    {
        errno.ENOSPC: Verdict.FULL,
        errno.EDQUOT: Verdict.FULL,
        # The disk, its mount, or the server that it is on.
        errno.EROFS: Verdict.UNAVAILABLE,
        errno.EACCES: Verdict.UNAVAILABLE,
        errno.EPERM: Verdict.UNAVAILABLE,
        errno.EIO: Verdict.UNAVAILABLE,
        errno.ENXIO: Verdict.UNAVAILABLE,
        errno.ENODEV: Verdict.UNAVAILABLE,
        errno.ENOMEDIUM: Verdict.UNAVAILABLE,
        errno.EMEDIUMTYPE: Verdict.UNAVAILABLE,
        errno.ESTALE: Verdict.UNAVAILABLE,
        errno.EREMOTEIO: Verdict.UNAVAILABLE,
        errno.EREMOTE: Verdict.UNAVAILABLE,
        errno.EUCLEAN: Verdict.UNAVAILABLE,
        errno.EBADMSG: Verdict.UNAVAILABLE,
        errno.ENODATA: Verdict.UNAVAILABLE,
        errno.EPROTO: Verdict.UNAVAILABLE,
        errno.ECOMM: Verdict.UNAVAILABLE,
        errno.ENOLINK: Verdict.UNAVAILABLE,
        errno.ETIME: Verdict.UNAVAILABLE,
        errno.ETIMEDOUT: Verdict.UNAVAILABLE,
        errno.EHOSTDOWN: Verdict.UNAVAILABLE,
        errno.EHOSTUNREACH: Verdict.UNAVAILABLE,
        errno.ENETDOWN: Verdict.UNAVAILABLE,
        errno.ENETUNREACH: Verdict.UNAVAILABLE,
        errno.ENETRESET: Verdict.UNAVAILABLE,
        errno.ENONET: Verdict.UNAVAILABLE,
        errno.ENOTCONN: Verdict.UNAVAILABLE,
        errno.ECONNREFUSED: Verdict.UNAVAILABLE,
        errno.ECONNRESET: Verdict.UNAVAILABLE,
        errno.ECONNABORTED: Verdict.UNAVAILABLE,
        errno.ESHUTDOWN: Verdict.UNAVAILABLE,
        errno.ENOKEY: Verdict.UNAVAILABLE,
        errno.EKEYEXPIRED: Verdict.UNAVAILABLE,
        errno.EKEYREVOKED: Verdict.UNAVAILABLE,
        errno.EKEYREJECTED: Verdict.UNAVAILABLE,
        errno.EBUSY: Verdict.UNAVAILABLE,
        errno.ETXTBSY: Verdict.UNAVAILABLE,
        errno.EINTR: Verdict.UNAVAILABLE,
        # This process, or the machine, for the moment.
        errno.EMFILE: Verdict.RESOURCES,
        errno.ENFILE: Verdict.RESOURCES,
        errno.ENOMEM: Verdict.RESOURCES,
        errno.ENOBUFS: Verdict.RESOURCES,
        errno.EAGAIN: Verdict.RESOURCES,
        # The size.
        errno.EFBIG: Verdict.TOO_LARGE,
        errno.EOVERFLOW: Verdict.TOO_LARGE,
        # The path.
        errno.ENOTDIR: Verdict.BAD_PATH,
        errno.EISDIR: Verdict.BAD_PATH,
        errno.ELOOP: Verdict.BAD_PATH,
        errno.ENAMETOOLONG: Verdict.BAD_PATH,
        errno.ENOTEMPTY: Verdict.BAD_PATH,
        # What this file system does not do.
        errno.ENOSYS: Verdict.UNSUITABLE,
        errno.EOPNOTSUPP: Verdict.UNSUITABLE,
        errno.ENOTTY: Verdict.UNSUITABLE,
        errno.EXDEV: Verdict.UNSUITABLE,
        errno.EMLINK: Verdict.UNSUITABLE,
        errno.ENOLCK: Verdict.UNSUITABLE,
        # Removed or put there by another program, or a fault of this one.
        errno.ENOENT: Verdict.ATTEMPT,
        errno.EEXIST: Verdict.ATTEMPT,
        errno.EINVAL: Verdict.ATTEMPT,
        errno.EILSEQ: Verdict.ATTEMPT,
        errno.EBADF: Verdict.ATTEMPT,
        errno.EFAULT: Verdict.ATTEMPT,
        errno.EPIPE: Verdict.ATTEMPT,
        errno.ESPIPE: Verdict.ATTEMPT,
        errno.EDESTADDRREQ: Verdict.ATTEMPT,
        errno.EDEADLK: Verdict.ATTEMPT,
        errno.ESRCH: Verdict.ATTEMPT,
    }
)

_BAD_FOLDER = {
    errno.ENOENT: Verdict.BAD_PATH,  # a file system such as /proc, in which no folder can be made
    errno.EEXIST: Verdict.BAD_PATH,  # something that is not a folder has the name
    errno.EINVAL: Verdict.BAD_PATH,  # a name that this file system refuses
    errno.EILSEQ: Verdict.BAD_PATH,
    errno.EMLINK: Verdict.BAD_PATH,  # its parent has as many folders as it can have
}
#: How file systems say that they do not do this, or not for this user.
_REFUSED_COURTESY = (
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
_EXCEPTIONS: Mapping[Step, Mapping[int, Verdict]] = MappingProxyType(
    {
        Step.MAKE_FOLDER: _BAD_FOLDER,
        Step.MAKE_GIVEN_FOLDER: {
            **_BAD_FOLDER,
            errno.EACCES: Verdict.BAD_PATH,
            errno.EPERM: Verdict.BAD_PATH,
            errno.EROFS: Verdict.BAD_PATH,
        },
        # Working names are plain ASCII: a file system that refuses them takes none of our files.
        Step.OPEN: {errno.EINVAL: Verdict.UNSUITABLE, errno.EILSEQ: Verdict.UNSUITABLE},
        Step.LOCK: {
            errno.EAGAIN: Verdict.BUSY,
            errno.EACCES: Verdict.BUSY,  # CIFS
            errno.EPERM: Verdict.UNSUITABLE,
            errno.EINVAL: Verdict.UNSUITABLE,
        },
        Step.NAME: {
            errno.ENAMETOOLONG: Verdict.BAD_NAME,
            errno.EINVAL: Verdict.BAD_NAME,
            errno.EILSEQ: Verdict.BAD_NAME,
        },
        # A file system that cannot sync a file (some shares and FUSE): what is there is checked by its
        # digests, and no other folder of it could do more.
        Step.SYNC: dict.fromkeys(_CANNOT_SYNC, Verdict.PASS_OVER),
        # The size of a volume, not of a file.
        Step.LOOK: {errno.EOVERFLOW: Verdict.ATTEMPT},
        Step.COURTESY: dict.fromkeys(_REFUSED_COURTESY, Verdict.PASS_OVER),
    }
)


def verdict(step: Step, number: int | None) -> Verdict:
    """Return what errno `number` means when a file system gives it for `step`."""
    if number is None:
        return Verdict.ATTEMPT
    default = _DEFAULTS.get(number, Verdict.ATTEMPT)
    return _EXCEPTIONS.get(step, {}).get(number, default)


def known_errnos() -> frozenset[int]:
    """Return every errno that the table has a line for."""
    return frozenset(_DEFAULTS)
