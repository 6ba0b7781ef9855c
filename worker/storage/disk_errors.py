"""Translates OSError into the service's errors, by the table in `errno_table`."""

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

#: The error code when another process on this machine has the part file open.
PART_FILE_BUSY = "part_file_busy"


def translate(
    error: OSError, operation: FileOperation, path: Path | str | None = None
) -> SeenError | None:
    """Return the service's error for an OSError, or None if it is to be ignored.

    Args:
        error: as it was raised.
        operation: the operation that failed.
        path: the file or folder; by default the path in `error`.
    """
    subject = path or error.filename or "a file"
    why = error.strerror or os.strerror(error.errno or 0)
    message = f"{subject} could not be {operation.value}: {why}."
    match error_kind(operation, error.errno):
        case ErrorKind.IGNORE:
            return None
        case ErrorKind.FULL:
            return DiskFullError(f"The disk is full: {message}")
        case ErrorKind.UNAVAILABLE:
            return DiskUnavailableError(f"The disk cannot be used now: {message}")
        case ErrorKind.RESOURCES:
            return WorkerResourcesError(f"The worker has too few resources: {message}")
        case ErrorKind.BUSY:
            return TransientError(
                f"Another process is still writing {subject}.", code=PART_FILE_BUSY
            )
        case ErrorKind.RETRY:
            return TransientError(f"Disk error: {message}", code="disk_error")
        case kind:
            return _permanent(kind, message)


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
            "Its file system lacks what a safe download needs; choose a folder on another one (-o), "
            "or mount it with locks.",
        ),
    }
)


def _permanent(kind: ErrorKind, message: str) -> PermanentError:
    code, remedy = _REMEDIES[kind]
    return PermanentError(f"{message} {remedy}", code=code)


class disk_errors:  # noqa: N801 - reads as a statement: `with disk_errors(FileOperation.OPEN, path):`
    """Raises OSErrors as the service's errors."""

    def __init__(self, operation: FileOperation, path: Path | str | None = None) -> None:
        self._operation, self._path = operation, path

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, OSError):
            translated = translate(error, self._operation, self._path)
            if translated is not None:
                raise translated from error


class optional_operation:  # noqa: N801 - reads as a statement: `with optional_operation(path):`
    """Ignores that the file system does not support an operation without which a file is safe, too."""

    def __init__(self, path: Path | str) -> None:
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
        logger.debug("An optional operation on %s is not supported: %s", self._path, error)
        return True


def sync_file(fd: int, sync: Callable[[int], None] = os.fsync) -> None:
    """fsync a file; do nothing on a file system without fsync.

    Args:
        fd: the file's descriptor.
        sync: `os.fsync` or `os.fdatasync`.

    Raises:
        OSError: the disk did not save all bytes.
    """
    try:
        sync(fd)
    except OSError as error:
        if error_kind(FileOperation.SYNC, error.errno) is not ErrorKind.IGNORE:
            raise
        logger.debug("The file system has no fsync: %s", error)


def sync_folder(fd: int, path: Path) -> None:
    """Make the names in a folder durable; only log errors, since the files are complete without."""
    try:
        os.fsync(fd)
    except OSError as error:
        is_unsupported = error_kind(FileOperation.OPTIONAL, error.errno) is ErrorKind.IGNORE
        log = logger.debug if is_unsupported else logger.warning
        log("Could not fsync the folder %s: %s", path, error)
