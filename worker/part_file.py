"""The part file: where bytes go until every one of them is there and checked.

It lies in the target's own folder, so that publishing is one atomic step on one file system, and is
named after the job, so that whoever takes the job up again finds it. Beside it lies the checkpoint:
which bytes are fsynced, and by which validator they can be continued. Only those are trusted after a
crash.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import ConfigDict, TypeAdapter

from domain.errors import TransientError
from domain.job import WORKING_PREFIX
from worker.disk_errors import courtesy, disk_errors
from worker.disk_verdicts import Step
from worker.files import numbered

#: How file systems say that they have no hard links, or not here.
_NO_HARD_LINKS = {errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}
#: So many files of one name are numbered before we give up.
MAX_CLASHES = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What the last checkpoint says: which bytes are fsynced, and what file they are of."""

    __pydantic_config__ = ConfigDict(strict=True)

    written: tuple[tuple[int, int], ...] = ()
    """Half-open intervals of the file, in order, that are fsynced."""
    total: int | None = None
    validator: str | None = None
    """What If-Range asks with; None when these bytes cannot be continued."""
    date: str | None = None
    """The Last-Modified date where it is a strong validator."""
    etag: str | None = None
    """As sent, weak or strong; a continuation that says another one is of another file."""
    last_modified: str | None = None
    encoding: str | None = None
    """The Content-Encoding in which these bytes came and are stored."""
    name: str | None = None
    source: str | None = None
    """The SHA-256 of the URL they are from: the URL itself may be a secret."""
    digests: tuple[str, ...] = ()
    """What the origin says the whole file's digests are, as ``algorithm:hex``."""

    @property
    def durable(self) -> int:
        """How many bytes are fsynced."""
        return sum(end - start for start, end in self.written)

    def fits(self, size: int) -> bool:
        """Say whether a file of `size` bytes can hold what this vouches for."""
        position = 0
        for start, end in self.written:
            if not position <= start < end:
                return False
            position = end
        return position <= size and (self.total is None or position <= self.total)


_CHECKPOINT = TypeAdapter(Checkpoint)


class PartFile:
    """The part file of one job, open and locked. Close it, or use it as a context manager.

    Attributes:
        checkpoint: the last one written, or the one found.
    """

    def __init__(self, directory: Path, job_id: str) -> None:
        """Open or create the part file.

        Raises:
            TransientError: another process on this machine is still writing it.
            DiskFullError: no room even for that.
        """
        self.path = _part_path(directory, job_id)
        self._checkpoint_path = self.path.with_suffix(".json")
        with disk_errors(Step.MAKE_FOLDER, directory):
            directory.mkdir(parents=True, exist_ok=True)
        with disk_errors(Step.OPEN, self.path):
            self._fd = _open_locked(self.path)
            self._is_doubtful = False
            try:
                self.checkpoint = self._read_checkpoint()
            except BaseException:
                self.close()
                raise

    @staticmethod
    def exists(directory: Path, job_id: str) -> bool:
        """Say whether there is a part file of this job, without making one."""
        with disk_errors(Step.LOOK, directory):
            return _part_path(directory, job_id).exists()

    @property
    def size(self) -> int:
        """Bytes in the file, those that nobody has written yet included."""
        with disk_errors(Step.LOOK, self.path):
            return os.fstat(self._fd).st_size

    @property
    def allocated(self) -> int:
        """Bytes of the disk that the file holds."""
        with disk_errors(Step.LOOK, self.path):
            return os.fstat(self._fd).st_blocks * 512

    @property
    def device(self) -> int:
        """The file system it lies on, as the system numbers it."""
        with disk_errors(Step.LOOK, self.path):
            return os.fstat(self._fd).st_dev

    # ── writing and reading ─────────────────────────────────────────────────────────────────────

    def write(self, chunks: Sequence[bytes], position: int) -> int:
        """Write `chunks` one after the other from `position` on; return how many bytes that were.

        Raises:
            DiskFullError: they do not fit.
        """
        with disk_errors(Step.WRITE, self.path):
            size = sum(map(len, chunks))
            written = os.pwritev(self._fd, chunks, position)
            if written < size:  # a full disk, or a signal: the rest tells
                rest = memoryview(b"".join(chunks))[written:]
                while rest:
                    done = os.pwrite(self._fd, rest, position + written)
                    written += done
                    rest = rest[done:]
        return size

    def read_into(self, buffer: memoryview, position: int) -> int:
        """Fill `buffer` from `position` on; return how many bytes there were."""
        with disk_errors(Step.READ, self.path):
            return os.preadv(self._fd, [buffer], position)

    def allocate(self, total: int) -> None:
        """Have the file system set `total` bytes aside, where it can do so at once.

        Raises:
            DiskFullError: it has not so many.
        """
        if total > 0:
            with courtesy(self.path):
                _allocate(self._fd, total)

    def discard(self) -> None:
        """Throw away every byte, and first the checkpoint that vouches for them."""
        with disk_errors(Step.WRITE, self.path):
            self._drop_checkpoint()
            os.ftruncate(self._fd, 0)
        self.checkpoint = Checkpoint()

    def sync(self, checkpoint: Checkpoint) -> None:
        """Make what is on disk durable, and then write the checkpoint that vouches for it.

        Safe to call from another thread while bytes are written: the checkpoint speaks of those only
        that were there before.

        Raises:
            TransientError: the disk refuses, or has refused before: the last checkpoint stays.
        """
        with disk_errors(Step.SYNC, self.path):
            self._make_durable(os.fdatasync)
            self._write_checkpoint(checkpoint)
        self.checkpoint = checkpoint

    def cut(self, total: int) -> None:
        """End the file after `total` bytes."""
        with disk_errors(Step.WRITE, self.path):
            os.ftruncate(self._fd, total)

    # ── the end ─────────────────────────────────────────────────────────────────────────────────

    def publish(
        self, name: str, *, overwrite: bool, may_publish: Callable[[], None] = lambda: None
    ) -> Path:
        """Give the file its final name, atomically, and return its path.

        `may_publish` is asked last of all, after the bytes are durable, which may take long; it raises
        to say no. A name that is taken gets a number, unless `overwrite` says to replace it. The part
        file's own name stays until `forget`: a second link by which a crash in between is recognised.
        """
        with disk_errors(Step.SYNC, self.path):
            self._make_durable(os.fsync)
        with courtesy(self.path):
            os.fchmod(self._fd, 0o666 & ~_umask())
        may_publish()
        with disk_errors(Step.NAME, self.path.with_name(name)):
            path = self._replace(name) if overwrite else self._link(name)
            _sync_directory(self.path.parent)
        return path

    def published_path(self) -> Path | None:
        """Return the final path if this part file has been published already, else None."""
        with disk_errors(Step.LOOK, self.path):
            status = os.fstat(self._fd)
            if status.st_nlink < 2:
                return None
            with os.scandir(self.path.parent) as entries:
                for entry in entries:
                    # Our own working names do not count: a crash can leave one as a second link.
                    if entry.inode() == status.st_ino and not entry.name.startswith(WORKING_PREFIX):
                        return Path(entry.path)
        return None

    def withdraw(self) -> None:
        """Take back the final name, if the file has one: its job did not come to be completed."""
        path = self.published_path()
        if path is not None:
            with disk_errors(Step.REMOVE, self.path):
                path.unlink(missing_ok=True)
                _sync_directory(path.parent)

    def forget(self) -> None:
        """Remove every working name of this job; a published file keeps its own name."""
        with disk_errors(Step.REMOVE, self.path):
            # The part file last: as long as it is there, its lock keeps others from the rest.
            for suffix in (".json", ".tmp", ".new", ".part"):
                self.path.with_suffix(suffix).unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file and let its lock go; what is on disk stays."""
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

    # ── how it is done ──────────────────────────────────────────────────────────────────────────

    def _link(self, name: str) -> Path:
        for number in range(MAX_CLASHES):
            path = self.path.with_name(numbered(name, number))
            try:
                os.link(self.path, path)
            except FileExistsError:
                continue
            except OSError as error:
                if error.errno not in _NO_HARD_LINKS:
                    raise
                return self._rename(path)
            return path
        raise TransientError(
            f"There are {MAX_CLASHES} files named like {name!r}.", code="name_taken"
        )

    def _rename(self, path: Path) -> Path:
        """Publish on a file system without hard links: claim the name, then move onto it."""
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        self.path.replace(path)
        return path

    def _replace(self, name: str) -> Path:
        path = self.path.with_name(name)
        temporary = self.path.with_suffix(".new")
        temporary.unlink(missing_ok=True)
        try:
            os.link(self.path, temporary)
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            self.path.replace(path)
            return path
        temporary.replace(path)
        return path

    def _make_durable(self, sync: Callable[[int], None]) -> None:
        """Have every byte that was written on the disk, or never again say so of this open file.

        The system gives up what it could not write, and its next answer is yes.
        """
        if self._is_doubtful:
            raise TransientError(
                "The disk did not take everything that was written; what it has is read anew.",
                code="disk_error",
            )
        try:
            sync(self._fd)
        except OSError:
            self._is_doubtful = True
            raise

    def _read_checkpoint(self) -> Checkpoint:
        try:
            checkpoint = _CHECKPOINT.validate_json(self._checkpoint_path.read_bytes())
            if checkpoint.fits(self.size):
                return checkpoint
        except (OSError, ValueError):
            pass  # None, or one that a crash tore.
        # Nothing is vouched for; nor will it be once the file has been made as long as it ought to be.
        self._drop_checkpoint()
        return Checkpoint()

    def _drop_checkpoint(self) -> None:
        """Remove the checkpoint so that no crash brings it back, to vouch for other bytes."""
        try:
            self._checkpoint_path.unlink()
        except FileNotFoundError:
            return
        _sync_directory(self.path.parent)

    def _write_checkpoint(self, checkpoint: Checkpoint) -> None:
        temporary = self._checkpoint_path.with_suffix(".tmp")
        with temporary.open("w") as file:
            json.dump(asdict(checkpoint), file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._checkpoint_path)


def _part_path(directory: Path, job_id: str) -> Path:
    return directory / f"{WORKING_PREFIX}{job_id}.part"


def _open_locked(path: Path) -> int:
    while True:
        fd = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            with disk_errors(Step.LOCK, path):
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _names(path, fd):
                return fd
        except BaseException:
            os.close(fd)
            raise
        # The holder before us removed it between our open and our lock: open the new one.
        os.close(fd)


def _names(path: Path, fd: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(fd))
    except FileNotFoundError:
        return False


def _sync_directory(directory: Path) -> None:
    with courtesy(directory):
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


@cache
def _fallocate() -> Callable[[int, int, int, int], int] | None:
    """Return the system's own fallocate, which says no where C's posix_fallocate writes every block."""
    function = getattr(ctypes.CDLL(None, use_errno=True), "fallocate64", None)
    if function is not None:
        function.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    return function


def _allocate(fd: int, total: int) -> None:
    fallocate = _fallocate()
    if fallocate is None or fallocate(fd, 0, 0, total) == 0:
        return
    number = ctypes.get_errno()
    raise OSError(number, os.strerror(number))


@cache
def _umask() -> int:
    """Return the process's umask; asking for it the usual way would change it for a moment."""
    with suppress(OSError):  # not every system tells
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    return 0o022
