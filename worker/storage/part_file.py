"""The part file: where bytes go until every one of them is there and checked.

It lies in the target's own folder, so that publishing is one atomic step on one file system, and is
named after the job, so that whoever takes the job up again finds it. Beside it lies the checkpoint:
which bytes are fsynced, and by which validator they can be continued. Only those are trusted after a
crash.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from domain.errors import DiskFullError, InvalidInputError, TransientError
from domain.files import WORKING_PREFIX
from worker.storage.checkpoint import Checkpoint, read_checkpoint
from worker.storage.destination import PublishedFile
from worker.storage.disk_errors import disk_errors, optional_operation, sync_file
from worker.storage.disk_space import DiskSpace
from worker.storage.errno_table import ErrorKind, FileOperation, error_kind
from worker.storage.folder_check import abilities
from worker.storage.own_files import (
    ForeignFileError,
    create_own_file,
    open_folder,
    open_own_file,
    read_own_file,
    remove_name,
)
from worker.storage.publication import Publication, move
from worker.storage.system_calls import allocate, umask

logger = logging.getLogger(__name__)

#: What the working names of a job end with; the part file last, since its lock guards the others.
WORKING_SUFFIXES = (".json", ".tmp", ".new", ".try", ".publish", ".part")


class PartFile:
    """The part file of one job, open and locked. Close it, or use it as a context manager.

    Args:
        directory: absolute and resolved; it is made where it is missing.
        job_id: whose file it is.
        is_given: the job names a folder outside the download folder.
        space: counts what all files of this process have reserved.

    Attributes:
        checkpoint: the last one written, or the one found.
        notes: what a reader of the job's history should know of how it was opened and published.
    """

    def __init__(
        self,
        directory: Path,
        job_id: str,
        *,
        is_given: bool = False,
        space: DiskSpace | None = None,
    ) -> None:
        """Open or create the part file.

        Raises:
            TransientError: another process on this machine is still writing it, or the folder cannot be
                used for now.
            PermanentError: the folder cannot be made, or its file system cannot do what is needed.
            DiskFullError: no room even for that.
        """
        self.path = _part_path(directory, job_id)
        self.notes: list[str] = []
        self._checkpoint_path = self.path.with_suffix(".json")
        self._space = space or DiskSpace(0)
        self._is_allocated = False
        self._fsync_failed = False
        self._fd = -1
        self._moved_to: Path | None = None
        made = FileOperation.CREATE_GIVEN_FOLDER if is_given else FileOperation.CREATE_FOLDER
        with disk_errors(made, directory):
            self._folder = open_folder(directory)
        try:
            self._uids = abilities(directory, self._folder).uids
            self._open()
        except BaseException:
            self.close()
            raise

    @staticmethod
    def exists(directory: Path, job_id: str) -> bool:
        """Say whether there is a part file of this job, or one on its way to its name; makes none."""
        path = _part_path(directory, job_id)
        with disk_errors(FileOperation.EXAMINE, directory):
            return any(_is_there(path.with_suffix(one)) for one in (".part", ".publish"))

    @property
    def size(self) -> int:
        """Bytes in the file, those that nobody has written yet included."""
        with disk_errors(FileOperation.EXAMINE, self.path):
            return os.fstat(self._fd).st_size

    @property
    def allocated(self) -> int:
        """Bytes of the disk that the file holds."""
        with disk_errors(FileOperation.EXAMINE, self.path):
            return os.fstat(self._fd).st_blocks * 512

    @property
    def device(self) -> int:
        """The file system it lies on, as the system numbers it."""
        with disk_errors(FileOperation.EXAMINE, self.path):
            return os.fstat(self._fd).st_dev

    @property
    def location(self) -> str:
        """Where the bytes are, for messages."""
        return str(self.path)

    # ── writing and reading ─────────────────────────────────────────────────────────────────────

    def reserve(self, total: int) -> None:
        """Reserve space for `total` bytes; where the file system can, allocate it as well."""
        self._space.reserve(self, total)
        self.allocate(total)
        self._is_allocated = self.allocated >= total
        if self._is_allocated:
            self._space.mark_written(self, total)

    def reserve_growth(self, size: int) -> None:
        """Reserve space for `size` more bytes of a file of unknown size."""
        self._space.reserve_growth(self, size)

    def write_at(self, chunks: Sequence[bytes], position: int) -> int:
        """Write `chunks` one after another from `position` on; return the number of bytes.

        Raises:
            DiskFullError: they do not fit.
        """
        try:
            with disk_errors(FileOperation.WRITE, self.path):
                size = self._write(chunks, position)
        except DiskFullError as error:
            # A quota, or a disk that others fill: the free space did not show it.
            error.uses_attempt = self._space.is_largest_growing_file(self)
            raise
        if not self._is_allocated:
            self._space.mark_written(self, size)
        return size

    def _write(self, chunks: Sequence[bytes], position: int) -> int:
        size = sum(map(len, chunks))
        written = os.pwritev(self._fd, chunks, position)
        if written < size:  # a full disk, which the next write reports, or a signal
            rest = memoryview(b"".join(chunks))[written:]
            while rest:
                done = os.pwrite(self._fd, rest, position + written)
                written += done
                rest = rest[done:]
        return size

    def read_at(self, buffer: memoryview, position: int) -> int:
        """Fill `buffer` from `position` on; return how many bytes there were."""
        with disk_errors(FileOperation.READ, self.path):
            return os.preadv(self._fd, [buffer], position)

    def allocate(self, total: int) -> None:
        """Have the file system set `total` bytes aside, where it can do so at once.

        Raises:
            DiskFullError: it has not so many.
        """
        if total > 0:
            with optional_operation(self.path):
                allocate(self._fd, total)

    def discard(self) -> None:
        """Throw away every byte, and first the checkpoint that vouches for them."""
        with disk_errors(FileOperation.WRITE, self.path):
            self._remove_checkpoint()
            self._truncate(0)
        self.checkpoint = Checkpoint()
        self._is_allocated = False
        self._space.release(self)

    def write_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Make what is on disk durable, and then write the checkpoint that vouches for it.

        Safe to call from another thread while bytes are written: the checkpoint speaks of those only
        that were there before.

        Raises:
            TransientError: the disk refuses, or has refused before: the last checkpoint stays.
        """
        with disk_errors(FileOperation.SYNC, self.path):
            self._fsync(os.fdatasync)
            self._write_checkpoint(checkpoint)
        self.checkpoint = checkpoint

    def truncate(self, total: int) -> None:
        """End the file after `total` bytes."""
        with disk_errors(FileOperation.WRITE, self.path):
            self._truncate(total)

    def _truncate(self, total: int) -> None:
        """Give the file a size that it does not have yet: not every file system can."""
        if os.fstat(self._fd).st_size != total:
            os.ftruncate(self._fd, total)

    # ── the end ─────────────────────────────────────────────────────────────────────────────────

    def publish(
        self,
        name: str,
        *,
        overwrite: bool,
        digests: Sequence[str] = (),
        may_publish: Callable[[], None] = lambda: None,
    ) -> Path:
        """Give the file its final name, atomically, and return its path.

        Args:
            name: one path component. A name that is taken gets a number, unless `overwrite` says to
                replace it; one that the file system refuses is replaced by one that it takes.
            overwrite: replace what has the name.
            digests: what the bytes have been found to have, as ``algorithm:hex``.
            may_publish: asked last of all, after the bytes are durable, which may take long; it raises
                to say no.

        Nothing that the disk does after the file has its name raises.
        """
        with disk_errors(FileOperation.SYNC, self.path):
            self._fsync(os.fsync)
        with optional_operation(self.path):
            os.fchmod(self._fd, 0o666 & ~umask())
        may_publish()
        with disk_errors(FileOperation.NAME, self.path.with_name(name)):
            path = self._publication.publish(
                self._fd, name, overwrite=overwrite, digests=tuple(digests)
            )
        self._sync_folder()
        if self._publication.base_name != name:
            self.notes.append(
                f"its file system refuses the name {name!r}: it is called {path.name!r}"
            )
        return path

    def find_published(self) -> PublishedFile | None:
        """Return the published file if an earlier attempt published this one, else None."""
        with disk_errors(FileOperation.EXAMINE, self.path):
            path = self._moved_to or self._publication.find(self._fd)
        record = self._publication.record
        return None if path is None or record is None else PublishedFile(path, record.digests)

    def unpublish(self) -> None:
        """Take back the final name, if the file has one: its job did not come to be completed."""
        published = self.find_published()
        if published is not None:
            with disk_errors(FileOperation.REMOVE, published.path):
                self._publication.unpublish(published.path)
            self._sync_folder()

    def check_replaceable(self, name: str) -> None:
        """Raise PermanentError when a folder has a name that is to be replaced."""
        with disk_errors(FileOperation.EXAMINE, self.path.with_name(name)):
            self._publication.check_replaceable(name)

    def start_empty(self, reason: str) -> None:
        """Leave the file that is open as it is, under its other names, and go on with an empty one."""
        self.notes.append(f"started an empty part file: {reason}")
        with disk_errors(FileOperation.REMOVE, self.path):
            self._publication.remove_record()
            self._remove_checkpoint()
            if self._moved_to is None:
                remove_name(self.path, folder=self._folder)
        self._close_file()
        self._moved_to = None
        self._open()

    def remove_working_files(self) -> None:
        """Remove every working name of this job; a published file keeps its own name."""
        for suffix in WORKING_SUFFIXES:
            path = self.path.with_suffix(suffix)
            with disk_errors(FileOperation.REMOVE, path):
                remove_name(path, folder=self._folder)

    def close(self) -> None:
        """Close the file and let its lock go; what is on disk stays."""
        self._space.release(self)
        self._close_file()
        if self._folder >= 0:
            os.close(self._folder)
            self._folder = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # ── opening ─────────────────────────────────────────────────────────────────────────────────

    def _open(self) -> None:
        self.checkpoint = Checkpoint()
        with disk_errors(FileOperation.OPEN, self.path):
            self._publication = Publication(self.path, self._folder, self._uids)
            self._fd = self._open_locked()
            if self._moved_to is None:
                self._resolve_links()
            self.checkpoint = self._read_checkpoint()

    def _open_locked(self) -> int:
        while True:
            fd, path = self._open_part_or_published()
            try:
                with disk_errors(FileOperation.LOCK, self.path):
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if self._is_name_of(path, fd):
                    self._moved_to = None if path == self.path else path
                    return fd
            except BaseException:
                os.close(fd)
                raise
            # The holder before us removed it between our open and our lock: open the new one.
            os.close(fd)

    def _open_part_or_published(self) -> tuple[int, Path]:
        """Open the part file, or the file that it has become."""
        self._publication.reload()
        moved = self._publication.open_published()
        if moved is not None:
            return moved
        try:
            return self._open_part(os.O_CREAT), self.path
        except ForeignFileError as error:
            remove_name(self.path, folder=self._folder)
            self.notes.append(
                f"started an empty part file: {self.path.name} was {error.kind} and was removed"
            )
            return self._open_part(os.O_CREAT | os.O_EXCL), self.path

    def _open_part(self, flags: int) -> int:
        return open_own_file(
            self.path,
            os.O_RDWR | flags,
            folder=self._folder,
            uids=self._uids,
            may_have_links=True,
        )

    def _resolve_links(self) -> None:
        """See to what a crash, or a person, has left of a part file with several names."""
        self._publication.reload()
        second = self.path.with_suffix(".new")
        if os.fstat(self._fd).st_nlink > 1 and self._is_name_of(second, self._fd):
            remove_name(second, folder=self._folder)  # it was about to replace another file
        if self._publication.find(self._fd) is not None:
            return
        self._publication.discard_unfinished()
        if os.fstat(self._fd).st_nlink > 1:
            # What is written now would be written into another person's file, and by that name, too.
            self.start_empty("it has another name (a hard link)")

    def _is_name_of(self, path: Path, fd: int) -> bool:
        try:
            found = os.stat(path.name, dir_fd=self._folder, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return os.path.samestat(found, os.fstat(fd))

    def _close_file(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    # ── durability ──────────────────────────────────────────────────────────────────────────────

    def _fsync(self, sync: Callable[[int], None]) -> None:
        """Have every byte that was written on the disk, or never again say so of this open file.

        The system gives up what it could not write, and its next answer is yes.
        """
        if self._fsync_failed:
            raise TransientError(
                "The disk did not take everything that was written; what it has is read anew.",
                code="disk_error",
            )
        try:
            sync_file(self._fd, sync)
        except OSError:
            self._fsync_failed = True
            raise

    def _read_checkpoint(self) -> Checkpoint:
        try:
            text = read_own_file(self._checkpoint_path, folder=self._folder, uids=self._uids)
            checkpoint = read_checkpoint(text)
            if checkpoint.fits(self.size):
                return checkpoint
        except FileNotFoundError:
            return Checkpoint()
        except (ValueError, InvalidInputError, ForeignFileError):
            pass  # One that a crash tore, or that is none.
        # Nothing is vouched for; nor will it be once the file has been made as long as it ought to be.
        self._remove_checkpoint()
        return Checkpoint()

    def _remove_checkpoint(self) -> None:
        """Remove the checkpoint so that no crash brings it back, to vouch for other bytes."""
        if remove_name(self._checkpoint_path, folder=self._folder):
            with optional_operation(self.path.parent):
                os.fsync(self._folder)

    def _write_checkpoint(self, checkpoint: Checkpoint) -> None:
        temporary = self._checkpoint_path.with_suffix(".tmp")
        with os.fdopen(create_own_file(temporary, folder=self._folder), "w") as file:
            json.dump(asdict(checkpoint), file)
            file.flush()
            sync_file(file.fileno())
        move(temporary, self._checkpoint_path, self._folder)

    def _sync_folder(self) -> None:
        """Make names durable. A file is whole and named without it, so a refusal is only logged."""
        try:
            os.fsync(self._folder)
        except OSError as error:
            refused = error_kind(FileOperation.OPTIONAL, error.errno) is ErrorKind.IGNORE
            log = logger.debug if refused else logger.warning
            log("The folder %s could not be synced: %s", self.path.parent, error)


def _is_there(path: Path) -> bool:
    """Say whether anything has a name; a folder that cannot be looked into raises: it says nothing."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _part_path(directory: Path, job_id: str) -> Path:
    return directory / f"{WORKING_PREFIX}{job_id}.part"


@dataclass(frozen=True, slots=True)
class PartFiles:
    """Opens part files.

    Args:
        root: the download folder, resolved.
        space: counts what all part files of this process have reserved.
    """

    root: Path
    space: DiskSpace

    def open(self, directory: Path, job_id: str) -> PartFile:
        """Open or create the part file of a job; raises as `PartFile` does."""
        is_given = not directory.is_relative_to(self.root)
        return PartFile(directory, job_id, is_given=is_given, space=self.space)

    def exists(self, directory: Path, job_id: str) -> bool:
        """Return whether the job has a part file, or one that is being published."""
        return PartFile.exists(directory, job_id)
