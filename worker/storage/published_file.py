"""Removes a published file of a finished job, if it is still the one that the job published."""

from __future__ import annotations

import hashlib
import os
import stat
from datetime import datetime
from pathlib import Path

from domain.errors import SeenError

#: A file server's clock may be so many seconds ahead of the worker's.
_MAX_SKEW = 2.0
#: To open a file that may have been replaced by a link or a pipe.
READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class FileKeptError(SeenError):
    """A file is not removed: it may be another one than the job has published."""

    code = "file_kept"

    def __init__(self, job_id: str, path: str, why: str) -> None:
        self.job_id, self.path = job_id, path
        super().__init__(f"Job {job_id}: {path} is kept, and the job too: {why}.")


def remove_published_file(
    job_id: str, path: str, *, sha256: str | None, finished_at: datetime
) -> bool:
    """Remove the file and return True; False if there is none at this path on this machine.

    It must be a regular file with this digest that was not written after the job had finished.

    Args:
        job_id: for messages.
        path: absolute, as the job published it.
        sha256: of the bytes that were published.
        finished_at: when the job was completed.

    Raises:
        FileKeptError: it is another file, or it cannot be read or removed; it is unchanged.
    """
    try:
        folder = os.open(Path(path).parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise FileKeptError(job_id, path, f"its folder cannot be read ({error.strerror})") from None
    try:
        return _remove(folder, Path(path).name, sha256, finished_at)
    except _Another as reason:
        raise FileKeptError(job_id, path, str(reason)) from None
    except FileNotFoundError:
        return False
    except OSError as error:
        raise FileKeptError(job_id, path, f"it cannot be removed ({error.strerror})") from None
    finally:
        os.close(folder)


def was_written_after(finished_at: datetime, status: os.stat_result) -> bool:
    """Return whether a file was written after its job had finished."""
    return status.st_mtime > finished_at.timestamp() + _MAX_SKEW


class _Another(Exception):  # noqa: N818 - a reason, turned into FileKeptError
    """Why a file is not the published one."""


def _remove(folder: int, name: str, sha256: str | None, finished_at: datetime) -> bool:
    status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if not stat.S_ISREG(status.st_mode):
        raise _Another("it is no regular file any more")
    fd = os.open(name, READ_FLAGS, dir_fd=folder)
    with os.fdopen(fd, "rb") as file:
        opened = os.fstat(fd)
        if not stat.S_ISREG(opened.st_mode) or not os.path.samestat(opened, status):
            raise _Another("it was replaced at this moment")
        if was_written_after(finished_at, opened):
            raise _Another("it was written after the job had finished")
        if sha256 is None or hashlib.file_digest(file, "sha256").hexdigest() != sha256:
            raise _Another("its content is another one than the job's")
        now = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if not os.path.samestat(opened, now) or now.st_mtime_ns != opened.st_mtime_ns:
            raise _Another("it was changed at this moment")
        os.unlink(name, dir_fd=folder)
    return True
