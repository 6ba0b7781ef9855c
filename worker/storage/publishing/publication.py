"""Gives a complete part file its final name; a crash leaves either no published file or a correct one.

First a record is written (`record.py`): the name, the size and the digests of the file. After a crash,
the next attempt adopts a published file only by this record and its digests. Another name alone (a hard
link that a person made) does not show that the file was published.

On file systems with hard links the final name is a second link, which is created in one step and never
replaces a file. On others, an empty placeholder file reserves the name, and the part file is renamed
over it.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeGuard

from domain.errors import InvalidInputError, PermanentError, TransientError
from domain.files import WORKING_PREFIX
from seen_local.own_files import (
    UNSUPPORTED_ERRNOS,
    ForeignFileError,
    create_own_file,
    move_name,
    open_own_file,
    read_own_file,
    remove_name,
)
from worker.storage.disk_errors import disk_errors, sync_file
from worker.storage.errno_table import ErrorKind, FileOperation, error_kind
from worker.storage.filenames import numbered, working_file
from worker.storage.publishing.fallback_names import fallback_names
from worker.storage.publishing.record import (
    AttributeRecord,
    PublicationRecord,
    read_attribute,
    read_record,
    remove_attribute,
    write_attribute,
)

logger = logging.getLogger(__name__)

#: Numbers that are tried for a name that is taken.
MAX_CLASHES = 10_000


class Publication:
    """The final name of one part file.

    Args:
        part: the part file's path.
        folder: its folder's descriptor.
        uids: users whose files are trusted.

    Attributes:
        record: the record as last read or written; None if there was none.
        base_name: the name that was published last, without an added number.
        left_no_file: it was published, and no file beside the part file was made for that.
    """

    record: PublicationRecord | AttributeRecord | None
    base_name: str

    def __init__(self, part: Path, folder: int, uids: frozenset[int]) -> None:
        self._part, self._folder, self._uids = part, folder, uids
        self._path = working_file(part, ".publish")
        self._replacement = working_file(part, ".new")
        self.record = None
        self.left_no_file = False
        self._has_written_file = False

    def reload(self, fd: int | None = None) -> None:
        """Read the record from disk.

        Args:
            fd: the part file, open. Without it only a record in a file of its own is found.
        """
        self.record = self._read()
        if self.record is None and fd is not None:
            self.record = read_attribute(fd)

    # ── publishing ──────────────────────────────────────────────────────────────────────────────

    def publish(self, fd: int, name: str, *, overwrite: bool, digests: tuple[str, ...]) -> Path:
        """Give the part file that is open as `fd` its final name, and return its path.

        If the file system refuses the name, fallback names are tried.
        """
        try:
            return self._publish(fd, name, overwrite=overwrite, digests=digests)
        except OSError as error:
            refusal = _refusal_of_name(error, name)
        for candidate in fallback_names(name):
            try:
                return self._publish(fd, candidate, overwrite=overwrite, digests=digests)
            except OSError as error:
                refusal = _refusal_of_name(error, candidate)
        raise refusal

    def _publish(self, fd: int, name: str, *, overwrite: bool, digests: tuple[str, ...]) -> Path:
        self.base_name = name
        status = os.fstat(fd)
        record = PublicationRecord(
            name=name, size=status.st_size, inode=status.st_ino, digests=digests
        )
        self.record = write_attribute(fd, record)
        if self.record is None:
            self._write(record, durable=False)
        if overwrite:
            return self._publish_over(fd, record)
        return self._publish_by_link(fd, record)

    def _publish_by_link(self, fd: int, record: PublicationRecord) -> Path:
        for number in range(MAX_CLASHES):
            path = self._part.with_name(numbered(record.name, number))
            try:
                self._link_to(fd, path.name)
            except FileExistsError:
                continue
            except OSError as error:
                if error.errno not in UNSUPPORTED_ERRNOS:
                    raise
                return self._publish_by_rename(fd, record, number)
            self.left_no_file = not self._has_written_file
            return path
        raise _name_taken(record.name)

    def _link_to(self, fd: int, name: str) -> None:
        """Link the open file, even if its name has been given to another file in the meantime."""
        try:
            os.link(f"/proc/self/fd/{fd}", name, dst_dir_fd=self._folder, follow_symlinks=True)
        except FileExistsError:
            raise
        except (
            OSError
        ):  # no /proc here; if the file system has no links, the next call raises as well
            self._check_name(fd)
            os.link(self._part.name, name, src_dir_fd=self._folder, dst_dir_fd=self._folder)

    def _publish_by_rename(self, fd: int, record: PublicationRecord, first: int) -> Path:
        """Publish on a file system without hard links: reserve a free name, then rename over it."""
        for number in range(first, MAX_CLASHES):
            path = self._part.with_name(numbered(record.name, number))
            if self._status(path) is not None:
                continue
            exact = replace(record, name=path.name, claims=True)
            self._write(exact, durable=True)
            try:
                self._create_placeholder(path)
            except FileExistsError:
                continue
            self._check_name(fd)
            try:
                move_name(self._part, path, folder=self._folder)
            except OSError:
                self._remove_placeholder(path)
                raise
            return path
        raise _name_taken(record.name)

    def _create_placeholder(self, path: Path) -> None:
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            os.close(os.open(path.name, flags, 0o600, dir_fd=self._folder))
        except PermissionError as error:
            # The record could be created in this folder, so the name is refused.
            raise OSError(errno.EINVAL, error.strerror, str(path)) from error

    def _publish_over(self, fd: int, record: PublicationRecord) -> Path:
        path = self._part.with_name(record.name)
        self.check_replaceable(record.name)
        remove_name(self._replacement, folder=self._folder)
        try:
            self._link_to(fd, Path(self._replacement).name)
        except OSError as error:
            if error.errno not in UNSUPPORTED_ERRNOS:
                raise
            self._write(replace(record, claims=True), durable=True)
            self._check_name(fd)
            self._move_over(self._part, path)
        else:
            self._move_over(self._replacement, path)
        return path

    def _move_over(self, source: Path | str, path: Path) -> None:
        try:
            move_name(source, path, folder=self._folder)
        except PermissionError as error:
            # Other names could be created in this folder, so the existing file may not be replaced.
            raise PermanentError(
                f"{path} may not be replaced: {error.strerror}. Give the file another name (--name).",
                code="bad_path",
            ) from error

    def check_replaceable(self, name: str) -> None:
        """Raise PermanentError if a folder has the name."""
        path = self._part.with_name(name)
        status = self._status(path)
        if status is not None and stat.S_ISDIR(status.st_mode):
            raise PermanentError(
                f"{path} is a folder: it is not replaced. Give the file another name (--name).",
                code="bad_path",
            )

    def _check_name(self, fd: int) -> None:
        """Raise if the part file's name has been removed or given to another file."""
        status = self._status(self._part)
        if status is None or not os.path.samestat(status, os.fstat(fd)):
            raise TransientError(
                f"{self._part} was removed or replaced while it was written.", code="disk_error"
            )

    # ── after a crash ───────────────────────────────────────────────────────────────────────────

    def find(self, fd: int) -> Path | None:
        """Return the final path of the part file that is open as `fd`, if the record shows one."""
        status = os.fstat(fd)
        if self.record is None or status.st_nlink < 2:
            return None
        if (status.st_ino, status.st_size) != (self.record.inode, self.record.size):
            return None
        names = sorted(
            name for name in self._names_of(status.st_ino) if not name.startswith(WORKING_PREFIX)
        )
        given = [name for name in names if self._is_given_name(name)]
        return self._part.with_name((given or names)[0]) if names else None

    def _names_of(self, inode: int) -> list[str]:
        # Not by the descriptor of the folder, which part files share: it has one position for all.
        folder = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._folder)
        try:
            with os.scandir(folder) as entries:
                return [entry.name for entry in entries if entry.inode() == inode]
        finally:
            os.close(folder)

    def open_published(self) -> tuple[int, Path] | None:
        """Open the published file if the part file was renamed to its final name, else None.

        Raises:
            OSError: the disk does not show whether it was.
        """
        record = self.record
        if not _claims(record) or self._status(self._part) is not None:
            return None
        path = self._part.with_name(record.name)
        try:
            fd = open_own_file(path, os.O_RDWR, folder=self._folder, uids=self._uids)
        except (FileNotFoundError, PermissionError, ForeignFileError):
            return None
        try:
            is_whole = os.fstat(fd).st_size == record.size
        except OSError:
            os.close(fd)
            raise
        if is_whole:
            return fd, path
        os.close(fd)
        return None

    def discard_unfinished(self, fd: int) -> None:
        """Remove the record and the placeholder of an interrupted publication of the file `fd`."""
        if self.record is not None:
            if _claims(self.record):
                self._remove_placeholder(self._part.with_name(self.record.name))
            self.remove_record(fd)

    def unpublish(self, path: Path) -> None:
        """Remove a final name; one that a person gave to the file later stays."""
        if self._is_given_name(path.name):
            os.unlink(path.name, dir_fd=self._folder)

    def remove_record(self, fd: int) -> None:
        """Remove the record of the file that is open as `fd`."""
        self.record = None
        remove_attribute(fd)
        remove_name(self._path, folder=self._folder)

    # ── files ───────────────────────────────────────────────────────────────────────────────────

    def _is_given_name(self, name: str) -> bool:
        return self.record is not None and self.record.is_name(name)

    def _remove_placeholder(self, path: Path) -> None:
        """Remove a placeholder, if it is still an empty file."""
        status = self._status(path)
        if status is not None and status.st_size == 0 and status.st_nlink == 1:
            with suppress(OSError):
                os.unlink(path.name, dir_fd=self._folder)

    def _status(self, path: Path) -> os.stat_result | None:
        try:
            return os.stat(path.name, dir_fd=self._folder, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def _read(self) -> PublicationRecord | None:
        try:
            text = read_own_file(self._path, folder=self._folder, uids=self._uids)
            return read_record(text)
        except (FileNotFoundError, ValueError, InvalidInputError, ForeignFileError):
            return None

    def _write(self, record: PublicationRecord, *, durable: bool) -> None:
        """Write the record. It must survive a power cut only if the part file loses its own name."""
        self._has_written_file = True
        # Not a `NAME` error, after which a fallback name would be tried.
        with disk_errors(FileOperation.WRITE, self._path):
            fd = create_own_file(self._path, folder=self._folder)
            try:
                os.write(fd, record.to_json().encode())
                if durable:
                    sync_file(fd)
            finally:
                os.close(fd)
        self.record = record


def _claims(record: PublicationRecord | AttributeRecord | None) -> TypeGuard[PublicationRecord]:
    return isinstance(record, PublicationRecord) and record.claims


def _refusal_of_name(error: OSError, name: str) -> OSError:
    """Return the error if the file system refuses this name, else raise it."""
    if error_kind(FileOperation.NAME, error.errno) is not ErrorKind.BAD_NAME:
        raise error
    logger.info("The file system refuses the name %r: %s", name, error.strerror)
    return error


def _name_taken(name: str) -> TransientError:
    return TransientError(
        f"{MAX_CLASHES} files named like {name!r} exist already; choose another name (--name).",
        code="name_taken",
    )
