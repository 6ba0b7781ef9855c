"""The digests of files that may have been rewritten, computed once for each version of a file."""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict

from domain.errors import SeenError

#: Callers that compute a digest or wait for one, at once: further ones are refused, so that large files
#: do not occupy all threads of a process.
MOST_AT_ONCE = 4
#: Files whose digest is remembered.
_MOST_KNOWN = 10_000
_CHUNK = 2**20

#: Device, inode, size, and the times of the last write and the last change of any kind. Programs can set
#: the time of the last write, and not that of the last change.
_Version = tuple[int, int, int, int, int]


class FileBusyError(SeenError):
    """As many files are compared with their digests as may be at once."""

    code = "file_busy"

    def __init__(self) -> None:
        super().__init__(
            "The file may have been changed, and is compared with its digest. Repeat this later."
        )


class VerifiedFiles:
    """Remembers the digests of one process. Threads share it."""

    def __init__(self) -> None:
        self._known: OrderedDict[_Version, str] = OrderedDict()
        self._computing = threading.Lock()
        self._room = threading.BoundedSemaphore(MOST_AT_ONCE)

    def has_digest(self, descriptor: int, sha256: str) -> bool:
        """Return whether an open file has this content now.

        Raises:
            FileBusyError: too many callers wait for digests.
            OSError: it cannot be read.
        """
        known = self._known.get(_version(descriptor))
        if known is None:
            if not self._room.acquire(blocking=False):
                raise FileBusyError
            try:
                with self._computing:
                    known = self._digest(descriptor)
            finally:
                self._room.release()
        return known == sha256

    def _digest(self, descriptor: int) -> str:
        """Return the digest of a file; "" if it was changed meanwhile."""
        version = _version(descriptor)
        known = self._known.get(version)
        if known is not None:  # another thread has computed it
            return known
        digest, position = hashlib.sha256(), 0
        while data := os.pread(descriptor, _CHUNK, position):
            digest.update(data)
            position += len(data)
        if _version(descriptor) != version:
            return ""
        self._known[version] = digest.hexdigest()
        if len(self._known) > _MOST_KNOWN:
            self._known.popitem(last=False)
        return self._known[version]


def _version(descriptor: int) -> _Version:
    status = os.fstat(descriptor)
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )
