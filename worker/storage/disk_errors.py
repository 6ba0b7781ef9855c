"""The operating system's errors as ours; what each means is told by the table in `disk_verdicts`."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType

from domain.errors import (
    DiskFullError,
    DiskUnavailableError,
    PermanentError,
    SeenError,
    TransientError,
    WorkerResourcesError,
)
from worker.storage.errno_table import ErrorKind, FileOperation, error_kind

logger = logging.getLogger(__name__)

#: The code of a job whose part file another process on this machine still has open.
PART_FILE_BUSY = "part_file_busy"


def translate(error: OSError, step: FileOperation, path: Path | None = None) -> SeenError | None:
    """Return the error of ours that an operating system's error means; None when it is passed over.

    Args:
        error: as it was raised.
        step: what was asked.
        path: of what; by default the path that the error names.
    """
    place = path or error.filename or "a file"
    why = error.strerror or os.strerror(error.errno or 0)
    said = f"{place} could not be {step.value}: {why}."
    match error_kind(step, error.errno):
        case ErrorKind.IGNORE:
            return None
        case ErrorKind.FULL:
            return DiskFullError(f"The disk is full: {said}")
        case ErrorKind.UNAVAILABLE:
            return DiskUnavailableError(f"The disk cannot be used for now: {said}")
        case ErrorKind.RESOURCES:
            return WorkerResourcesError(f"The worker has too few resources: {said}")
        case ErrorKind.BUSY:
            return TransientError(f"Another process still writes {place}.", code=PART_FILE_BUSY)
        case ErrorKind.RETRY:
            return TransientError(f"The disk refuses: {said}", code="disk_error")
        case known:
            return _permanent(known, said)


_REMEDIES: Mapping[ErrorKind, tuple[str, str]] = MappingProxyType(
    {
        ErrorKind.BAD_NAME: ("bad_name", "Give the file another name (--name)."),
        ErrorKind.BAD_PATH: ("bad_path", "Choose another folder (-o)."),
        ErrorKind.TOO_LARGE: (
            "too_large",
            "The file is too large for this file system; choose a folder on another one (-o).",
        ),
        ErrorKind.UNSUITABLE: (
            "unsuitable_folder",
            "Its file system cannot do what a safe download needs; choose a folder on another one (-o), "
            "or mount it with locks.",
        ),
    }
)


def _permanent(known: ErrorKind, said: str) -> PermanentError:
    code, remedy = _REMEDIES[known]
    return PermanentError(f"{said} {remedy}", code=code)


class disk_errors:  # noqa: N801 - reads as a statement: `with disk_errors(FileOperation.OPEN, path):`
    """Raises the operating system's errors as ours."""

    def __init__(self, step: FileOperation, path: Path | None = None) -> None:
        self._step, self._path = step, path

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, OSError):
            translated = translate(error, self._step, self._path)
            if translated is not None:
                raise translated from error


class optional_operation:  # noqa: N801 - reads as a statement: `with optional_operation(path):`
    """Passes over the refusal of something that a file is complete and safe without."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if not isinstance(error, OSError):
            return False
        translated = translate(error, FileOperation.OPTIONAL, self._path)
        if translated is not None:
            raise translated from error
        logger.debug("The file system passes over something at %s: %s", self._path, error)
        return True


def sync_file(fd: int, sync: Callable[[int], None] = os.fsync) -> None:
    """Have a file's bytes on the disk, where its file system can see to that.

    Args:
        fd: of the file.
        sync: `os.fsync` or `os.fdatasync`.

    Raises:
        OSError: the disk did not take them. That the file system has no such call is passed over.
    """
    try:
        sync(fd)
    except OSError as error:
        if error_kind(FileOperation.SYNC, error.errno) is not ErrorKind.IGNORE:
            raise
        logger.debug("The file system cannot sync a file: %s", error)
