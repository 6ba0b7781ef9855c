"""Gives a complete part file its final name; a crash leaves either no published file or a correct one.

First a record is written: the name, the size and the digests of the file. After a crash, the next
attempt adopts a published file only by this record and its digests. Another name alone (a hard link
that a person made) does not show that the file was published.

On file systems with hard links the final name is a second link, which is created in one step and never
replaces a file. On others, an empty placeholder file reserves the name, and the part file is renamed
over it.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import stat
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path

from pydantic import ConfigDict, TypeAdapter

from domain.errors import InvalidInputError, PermanentError, TransientError
from domain.files import MAX_FOLDER_BYTES, WORKING_PREFIX, Checksum
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
from worker.storage.fallback_names import fallback_names
from worker.storage.filenames import numbered, working_file

logger = logging.getLogger(__name__)

#: Numbers that are tried for a name that is taken.
MAX_CLASHES = 10_000
_NUMBER = re.compile(r"\((\d{1,5})\)")


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicationRecord:
    """Describes a file before it gets its final name; stored as JSON beside the part file."""

    __pydantic_config__ = ConfigDict(strict=True)

    name: str
    size: int
    inode: int
    digests: tuple[str, ...] = ()
    """Verified digests (SHA-256, the caller's, the origin's), as ``algorithm:hex``."""
    claims: bool = False
    """The file has exactly `name`, which a placeholder reserves; else a number may have been added."""

    def to_json(self) -> str:
        """Return the record as its file contains it."""
        # Not `asdict`, which copies every value.
        return json.dumps({one.name: getattr(self, one.name) for one in fields(self)})


_RECORD = TypeAdapter(PublicationRecord)


class Publication:
    """The final name of one part file.

    Args:
        part: the part file's path.
        folder: its folder's descriptor.
        uids: users whose files are trusted.

    Attributes:
        record: the record as last read or written; None if there was none.
        base_name: the name that was published last, without an added number.
    """

    record: PublicationRecord | None
    base_name: str

    def __init__(self, part: Path, folder: int, uids: frozenset[int]) -> None:
        self._part, self._folder, self._uids = part, folder, uids
        self._path = working_file(part, ".publish")
        self._replacement = working_file(part, ".new")
        self.record = None

    def reload(self) -> None:
        """Read the record from disk."""
        self.record = self._read()

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
        self._write(record, durable=False)
        if overwrite:
            return self._publish_over(fd, record)
        return self._publish_by_link(fd, record)

    def _publish_by_link(self, fd: int, record: PublicationRecord) -> Path:
        for number in range(MAX_CLASHES):
            path = self._part.with_name(numbered(record.name, number))
            try:
                self._link_to(fd, path)
            except FileExistsError:
                continue
            except OSError as error:
                if error.errno not in UNSUPPORTED_ERRNOS:
                    raise
                return self._publish_by_rename(fd, record, number)
            return path
        raise _name_taken(record.name)

    def _link_to(self, fd: int, path: Path) -> None:
        """Link the open file, even if its name has been given to another file in the meantime."""
        try:
            os.link(f"/proc/self/fd/{fd}", path.name, dst_dir_fd=self._folder, follow_symlinks=True)
        except FileExistsError:
            raise
        except (
            OSError
        ):  # no /proc here; if the file system has no links, the next call raises as well
            self._check_name(fd)
            os.link(self._part.name, path.name, src_dir_fd=self._folder, dst_dir_fd=self._folder)

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
            self._link_to(fd, self._replacement)
        except OSError as error:
            if error.errno not in UNSUPPORTED_ERRNOS:
                raise
            self._write(replace(record, claims=True), durable=True)
            self._check_name(fd)
            self._move_over(self._part, path)
        else:
            self._move_over(self._replacement, path)
        return path

    def _move_over(self, source: Path, path: Path) -> None:
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
        """Open the published file if the part file was renamed to its final name, else None."""
        record = self.record
        if record is None or not record.claims or self._status(self._part) is not None:
            return None
        path = self._part.with_name(record.name)
        with suppress(OSError, ForeignFileError):
            fd = open_own_file(path, os.O_RDWR, folder=self._folder, uids=self._uids)
            if os.fstat(fd).st_size == record.size:
                return fd, path
            os.close(fd)
        return None

    def discard_unfinished(self) -> None:
        """Remove the record and the placeholder of an interrupted publication."""
        if self.record is not None:
            if self.record.claims:
                self._remove_placeholder(self._part.with_name(self.record.name))
            self.remove_record()

    def unpublish(self, path: Path) -> None:
        """Remove a final name; one that a person gave to the file later stays."""
        if self._is_given_name(path.name):
            os.unlink(path.name, dir_fd=self._folder)

    def remove_record(self) -> None:
        """Remove the record."""
        self.record = None
        remove_name(self._path, folder=self._folder)

    # ── files ───────────────────────────────────────────────────────────────────────────────────

    def _is_given_name(self, name: str) -> bool:
        if self.record is None:
            return False
        numbers = [0, *map(int, _NUMBER.findall(name))]
        return any(numbered(self.record.name, number) == name for number in numbers)

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
            return _read_record(text)
        except (FileNotFoundError, ValueError, InvalidInputError, ForeignFileError):
            return None

    def _write(self, record: PublicationRecord, *, durable: bool) -> None:
        """Write the record. It must survive a power cut only if the part file loses its own name."""
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


def _read_record(text: bytes) -> PublicationRecord:
    """Parse a record; raise ValueError or InvalidInputError if the service would not write it."""
    record = _RECORD.validate_json(text)
    name = os.fsencode(record.name)
    is_path = name in {b"", b".", b".."} or b"/" in name or b"\0" in name
    if is_path or len(name) > MAX_FOLDER_BYTES or record.name.startswith(WORKING_PREFIX):
        raise ValueError("Its name is not a file name.")
    for digest in record.digests:
        Checksum.parse(digest)
    return record


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
