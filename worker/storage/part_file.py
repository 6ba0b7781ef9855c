"""The part file: where a download's bytes go until the file is complete and its digests are checked.

It lies in the destination folder, so that publishing is a rename or a link within one file system. Its
name has the job's id, so that the next attempt finds it. The checkpoint beside it says which bytes are
durable and by which validator they can be continued. After a crash only those bytes are trusted.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from domain.errors import DiskFullError, TransientError
from seen_local.own_files import ForeignFileError, open_own_file, remove_name
from worker.storage.checkpoint_file import CheckpointFile
from worker.storage.destination import Checkpoint, PublishedFile
from worker.storage.disk_errors import disk_errors, optional_operation, sync_file
from worker.storage.disk_space import DiskSpace
from worker.storage.errno_table import FileOperation
from worker.storage.filenames import part_path, working_file
from worker.storage.folders import OpenFolders
from worker.storage.publishing.publication import Publication
from worker.storage.publishing.record import remove_attribute
from worker.storage.system_calls import allocate, umask, write_all

#: A file of at most so many bytes is written at once: to allocate its blocks first costs more than it
#: saves.
_SMALL_FILE = 256 * 1024
#: The suffixes of a job's working files. The part file is removed last: its lock protects the others.
WORKING_SUFFIXES = (".json", ".tmp", ".new", ".try", ".publish", ".part")


class PartFile:
    """The part file of one job, open and locked (`flock`): the `Destination` on a file system.

    Args:
        directory: absolute and resolved; created if it is missing.
        job_id: the job's id.
        is_outside_root: the job names a folder outside the download folder.
        space: the reserved space of all part files of this process.
        folders: the folders of all part files of this process.

    Attributes:
        folder: the path of its folder.
        device: the number of the file system (`st_dev`).
        checkpoint: the one that was written last, or found on opening.
        notes: what the job's history should say about how the file was opened and published.
    """

    def __init__(
        self,
        directory: Path,
        job_id: str,
        *,
        is_outside_root: bool = False,
        space: DiskSpace | None = None,
        folders: OpenFolders | None = None,
    ) -> None:
        """Open or create the part file.

        Raises:
            TransientError: another process here has it open, or the folder cannot be used now.
            PermanentError: the folder cannot be created, or its file system lacks what is needed.
            DiskFullError: there is no space even for an empty file.
        """
        self.path = part_path(directory, job_id)
        self.folder = str(directory)
        self.notes: list[str] = []
        self._space = space or DiskSpace(0)
        self._folders = folders or OpenFolders()
        self._is_allocated = self._fsync_failed = False
        #: In bytes, of a file that was created and then only written here; else None: look at the disk.
        self._length: int | None = None
        #: Whether this job may have other working files than the part file.
        self._may_have_others = True
        self._fd = -1
        self._published_path: Path | None = None
        outside, inside = FileOperation.CREATE_FOLDER_OUTSIDE_ROOT, FileOperation.CREATE_FOLDER
        with disk_errors(outside if is_outside_root else inside, directory):
            self._folder = self._folders.open(directory)
        try:
            self._uids = self._folders.trusted_uids(self._folder)
            self._checkpoint_file = CheckpointFile(self.path, self._folder, self._uids)
            self._open()
        except BaseException:
            self.close()
            raise

    @property
    def location(self) -> str:
        """The path, for messages."""
        return str(self.path)

    @property
    def size(self) -> int:
        """Length in bytes, gaps included."""
        return self._status().st_size

    @property
    def allocated(self) -> int:
        """Bytes of the disk that the file occupies."""
        return 0 if self._length == 0 else self._status().st_blocks * 512

    def _status(self) -> os.stat_result:
        with disk_errors(FileOperation.EXAMINE, self.path):
            return os.fstat(self._fd)

    # ── writing and reading ─────────────────────────────────────────────────────────────────────

    def reserve(self, total: int) -> None:
        """Reserve space for `total` bytes; allocate those of a large file if the file system can."""
        self._space.reserve(self, total)
        if total <= _SMALL_FILE:
            return
        self.allocate(total)
        self._is_allocated = self.allocated >= total
        if self._is_allocated:
            self._space.mark_written(self, total)

    def reserve_growth(self, size: int) -> None:
        """Reserve space for `size` more bytes of a file of unknown size."""
        self._space.reserve_growth(self, size)

    def allocate(self, total: int) -> None:
        """Allocate disk blocks for `total` bytes, if the file system can without writing them.

        Raises:
            DiskFullError: there are not enough.
        """
        if total > 0:
            self._length = None
            with optional_operation(self.path):
                allocate(self._fd, total)

    def write_at(self, chunks: Sequence[bytes], position: int) -> int:
        """Write `chunks` one after another from `position` on; return the number of bytes.

        Raises:
            DiskFullError: they do not fit.
        """
        length, self._length = self._length, None  # what a write that fails leaves is not known
        try:
            with disk_errors(FileOperation.WRITE, self.path):
                size = write_all(self._fd, chunks, position)
        except DiskFullError as error:
            # A quota, or a disk that other programs fill: the free space did not show it.
            error.uses_attempt = self._space.is_largest_growing_file(self)
            raise
        if length is not None:
            self._length = max(length, position + size)
        if not self._is_allocated:
            self._space.mark_written(self, size)
        return size

    def read_at(self, buffer: memoryview, position: int) -> int:
        """Fill `buffer` from `position` on; return the number of bytes read, 0 at the end."""
        with disk_errors(FileOperation.READ, self.path):
            return os.preadv(self._fd, [buffer], position)

    def write_checkpoint(self, checkpoint: Checkpoint) -> None:
        """fsync the written bytes, then save `checkpoint`.

        May run in another thread while bytes are written: `checkpoint` lists only bytes written before.

        Raises:
            TransientError: the disk refuses, now or earlier; the last checkpoint stays.
        """
        with disk_errors(FileOperation.SYNC, self.path):
            self._fsync(os.fdatasync)
            self._may_have_others, self._length = True, None
            self._checkpoint_file.write(checkpoint)
        self.checkpoint = checkpoint

    def truncate(self, size: int) -> None:
        """Set the length to `size` bytes."""
        with disk_errors(FileOperation.WRITE, self.path):
            self._truncate(size)

    def discard(self) -> None:
        """Delete all bytes, the checkpoint first, and release the reserved space."""
        if self._length != 0:  # else it is as it was created, and has no checkpoint
            with disk_errors(FileOperation.WRITE, self.path):
                self._checkpoint_file.remove()
                self._truncate(0)
        self.checkpoint = Checkpoint()
        self._is_allocated = False
        self._space.release(self)

    def _truncate(self, size: int) -> None:
        # Not for nothing: some file systems cannot truncate.
        if size != self._length and os.fstat(self._fd).st_size != size:
            self._length = None
            os.ftruncate(self._fd, size)

    def _fsync(self, sync: Callable[[int], None]) -> None:
        # After a failed fsync this descriptor cannot be trusted: Linux may drop the unsaved pages, and
        # later fsyncs report success.
        if self._fsync_failed:
            raise TransientError(
                f"The disk did not save all bytes of {self.path}; the next attempt fetches them again.",
                code="disk_error",
            )
        try:
            sync_file(self._fd, sync)
        except OSError:
            self._fsync_failed = True
            raise

    # ── publishing ──────────────────────────────────────────────────────────────────────────────

    def publish(
        self,
        name: str,
        *,
        overwrite: bool,
        digests: Sequence[str] = (),
        may_publish: Callable[[], None] = lambda: None,
    ) -> Path:
        """Make the bytes durable and give them their final name in one atomic step; return its path.

        Errors after that step are logged, not raised.

        Args:
            name: one path component. Without `overwrite`, a number is added to a name that is taken. A
                name that the file system refuses is replaced by a similar one.
            overwrite: replace the file that has the name.
            digests: of the bytes, as ``algorithm:hex``; `find_published` returns them.
            may_publish: called after the fsync, which may take long; it raises to refuse.
        """
        with disk_errors(FileOperation.SYNC, self.path):
            self._fsync(os.fsync)
        with optional_operation(self.path):
            os.fchmod(self._fd, 0o666 & ~umask())
        may_publish()
        with disk_errors(FileOperation.NAME, f"{self.folder}/{name}"):
            path = self._publication.publish(
                self._fd, name, overwrite=overwrite, digests=tuple(digests)
            )
        self._folders.sync(self._folder)
        if self._publication.base_name != name:
            self.notes.append(f"named it {path.name!r}: its file system refuses {name!r}")
        return path

    def find_published(self) -> PublishedFile | None:
        """Return the published file if an earlier attempt published this one, else None."""
        with disk_errors(FileOperation.EXAMINE, self.path):
            is_new = self._length == 0
            path = None if is_new else self._published_path or self._publication.find(self._fd)
        record = self._publication.record
        return None if path is None or record is None else PublishedFile(path, record.digests)

    def unpublish(self) -> None:
        """Remove the final name if this file has one."""
        published = self.find_published()
        if published is not None:
            with disk_errors(FileOperation.REMOVE, published.path):
                self._publication.unpublish(published.path)
            self._folders.sync(self._folder)

    def check_replaceable(self, name: str) -> None:
        """Raise PermanentError if a folder has the name."""
        with disk_errors(FileOperation.EXAMINE, self.path.with_name(name)):
            self._publication.check_replaceable(name)

    def start_empty(self, reason: str) -> None:
        """Continue with an empty file; the open one keeps its bytes and its other names."""
        self.notes.append(f"started an empty part file: {reason}")
        with disk_errors(FileOperation.REMOVE, self.path):
            self._publication.remove_record(self._fd)
            self._checkpoint_file.remove()
            if self._published_path is None:
                remove_name(self.path, folder=self._folder)
        self._close_file()
        self._published_path = None
        self._open()
        self._may_have_others = True  # of the part file that this one replaces

    def remove_working_files(self) -> None:
        """Remove all working files of this job; a published file keeps its final name."""
        remove_attribute(self._fd)
        only_part = self._publication.left_no_file and not self._may_have_others
        for suffix in WORKING_SUFFIXES[-1:] if only_part else WORKING_SUFFIXES:
            path = working_file(self.path, suffix)
            with disk_errors(FileOperation.REMOVE, path):
                remove_name(path, folder=self._folder)

    # ── opening and closing ─────────────────────────────────────────────────────────────────────

    def _open(self) -> None:
        self.checkpoint = Checkpoint()
        with disk_errors(FileOperation.OPEN, self.path):
            self._publication = Publication(self.path, self._folder, self._uids)
            self._fd, is_new = self._open_locked()
            is_published = self._published_path is not None
            # A file that was just created has no other names, unless it has a record.
            self._may_have_others = not is_new or self._publication.record is not None
            if not is_published and self._may_have_others:
                self._resolve_links()
            self.checkpoint = self._checkpoint_file.read(0 if is_new else self.size)
            self._length = 0 if is_new and self.checkpoint == Checkpoint() else None

    def _open_locked(self) -> tuple[int, bool]:
        """Open and lock the file; return its descriptor, and whether it was created."""
        while True:
            fd, path, is_new = self._open_part_or_published()
            try:
                with disk_errors(FileOperation.LOCK, self.path):
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                status = os.fstat(fd)
                # A new file has one name.
                if status.st_nlink if is_new else self._is_name_of(path, status):
                    self.device = status.st_dev
                    self._published_path = None if path == self.path else path
                    return fd, is_new
            except BaseException:
                os.close(fd)
                raise
            # The process that held the lock removed the file after we had opened it: open the new one.
            os.close(fd)

    def _open_part_or_published(self) -> tuple[int, Path, bool]:
        """Open the part file, or the published file that it was renamed to.

        Returns the descriptor, the file's path, and whether it was created.
        """
        self._publication.reload()
        published = self._publication.open_published()
        if published is not None:
            return *published, False
        with suppress(FileExistsError):
            return self._open_part(os.O_CREAT | os.O_EXCL), self.path, True
        try:
            return self._open_part(os.O_CREAT), self.path, False
        except ForeignFileError as error:
            remove_name(self.path, folder=self._folder)
            self.notes.append(
                f"started an empty part file: {self.path.name} was {error.kind} and was removed"
            )
            return self._open_part(os.O_CREAT | os.O_EXCL), self.path, False

    def _open_part(self, flags: int) -> int:
        return open_own_file(
            self.path,
            os.O_RDWR | flags,
            folder=self._folder,
            uids=self._uids,
            may_have_links=True,
        )

    def _resolve_links(self) -> None:
        """Remove what an interrupted publication left, and never write to a file with another name."""
        self._publication.reload(self._fd)
        replacement = working_file(self.path, ".new")
        status = os.fstat(self._fd)
        if status.st_nlink > 1 and self._is_name_of(replacement, status):
            remove_name(replacement, folder=self._folder)
        if self._publication.find(self._fd) is not None:
            return
        self._publication.discard_unfinished(self._fd)
        if os.fstat(self._fd).st_nlink > 1:
            self.start_empty(f"{self.path.name} has another name (a hard link)")

    def _is_name_of(self, path: Path | str, status: os.stat_result) -> bool:
        try:
            found = os.stat(
                str(path).rpartition("/")[2], dir_fd=self._folder, follow_symlinks=False
            )
        except FileNotFoundError:
            return False
        return os.path.samestat(found, status)

    def close(self) -> None:
        """Close the file and release its lock and the reserved space; the bytes stay."""
        self._space.release(self)
        self._close_file()
        if self._folder >= 0:
            self._folders.close(self._folder)
            self._folder = -1

    def _close_file(self) -> None:
        self._length = None
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
