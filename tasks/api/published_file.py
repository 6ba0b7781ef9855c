"""The file of a completed job, opened for reading, if it is still the one that the job published."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath

from domain.errors import IllegalTransitionError, SeenError
from domain.job import Job, JobStatus
from tasks.api.verified_files import VerifiedFiles
from worker.storage.published_file import READ_FLAGS, was_written_after

_verified = VerifiedFiles()
#: A worker has removed the name of the part file so long after the job has finished. Seconds.
_SETTLING = 10.0
#: Bytes that are read and hashed in a fraction of a second.
_SMALL = 32 * 2**20
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class FileUnavailableError(SeenError):
    """The file of a completed job cannot be given: it is gone, another one, or outside the folder."""

    code = "file_unavailable"

    def __init__(self, job_id: str, why: str) -> None:
        self.job_id = job_id
        super().__init__(f"The file of job {job_id} cannot be given: {why}.")


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """An open file; its owner closes `descriptor`.

    Attributes:
        descriptor: at its beginning.
        name: of the file.
        size: in bytes.
        modified_at: in seconds since the epoch.
        changed_ns: when it or its attributes were last changed, in ns since the epoch.
        sha256: of its content, as it was published; None if that was not recorded.
    """

    descriptor: int
    name: str
    size: int
    modified_at: float
    changed_ns: int
    sha256: str | None


def open_published_file(job: Job, root: Path) -> PublishedFile:
    """Open the file that a job has published. No link is followed below the download folder.

    Args:
        job: as read.
        root: the download folder, resolved.

    Raises:
        IllegalTransitionError: the job is not completed.
        FileUnavailableError: there is no such file, or it was changed since.
        FileBusyError: its digest has to be compared, and too many others are.
    """
    if job.status is not JobStatus.COMPLETED or job.path is None or job.finished_at is None:
        raise IllegalTransitionError(
            job.id, job.status, "read", advice="Its file can be read when it is completed."
        )
    try:
        parts = PurePosixPath(job.path).relative_to(root).parts
    except ValueError:
        raise FileUnavailableError(job.id, "it is not in the download folder") from None
    if not parts or ".." in parts:
        raise FileUnavailableError(job.id, "it is not in the download folder")
    try:
        descriptor = _open_below(root, parts)
    except OSError as error:
        raise FileUnavailableError(job.id, f"{error.strerror}") from None
    try:
        return _checked(job, descriptor, parts[-1], job.finished_at)
    except OSError as error:
        os.close(descriptor)
        raise FileUnavailableError(job.id, f"{error.strerror}") from None
    except BaseException:
        os.close(descriptor)
        raise


def _open_below(root: Path, parts: tuple[str, ...]) -> int:
    """Open a file in a folder, each part of its path without following a link."""
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parts[:-1]:
            below = os.open(part, _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = below
        return os.open(parts[-1], READ_FLAGS, dir_fd=folder)
    finally:
        with suppress(OSError):
            os.close(folder)


def _checked(job: Job, descriptor: int, name: str, finished_at: datetime) -> PublishedFile:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise FileUnavailableError(job.id, "it is no regular file any more")
    is_other_size = job.bytes_total is not None and status.st_size != job.bytes_total
    if (
        is_other_size
        or was_written_after(finished_at, status)
        or not _has_its_content(job, descriptor, status, finished_at)
    ):
        raise FileUnavailableError(job.id, "it was changed after the job had finished")
    return PublishedFile(
        descriptor, name, status.st_size, status.st_mtime, status.st_ctime_ns, job.sha256
    )


def _has_its_content(
    job: Job, descriptor: int, status: os.stat_result, finished_at: datetime
) -> bool:
    """Return whether a file has the content that was published; True if no digest was recorded.

    What writes a file may set the time of that back, and not the time of the last change. But a new
    owner, mode, name or link changes that, too: a later one only means that the digest is compared.
    """
    if job.sha256 is None or not _may_be_rewritten(status, finished_at.timestamp()):
        return True
    return _verified.has_digest(descriptor, job.sha256)


def _may_be_rewritten(status: os.stat_result, finished_at: float) -> bool:
    """Return whether a file was changed after its job had finished, by more than its worker does.

    A worker removes the name of the part file a moment later, which is a change. To read a small file is
    quicker than to be in doubt; a large one is not rewritten within that moment.
    """
    if status.st_ctime <= finished_at:
        return False
    is_settling = max(status.st_ctime - _SETTLING, status.st_mtime) <= finished_at
    return status.st_size <= _SMALL or not is_settling
