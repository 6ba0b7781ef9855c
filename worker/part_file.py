"""The part file: where bytes go until every one of them is there and checked.

It lies in the target's own folder, so that publishing is one atomic step on one file system, and is
named after the job, so that whoever takes the job up again finds it. Beside it lies the checkpoint:
how many bytes are fsynced, and by which validator they can be continued. Only those are trusted after
a crash.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import ConfigDict, TypeAdapter

from domain.errors import DiskFullError, PermanentError, TransientError
from domain.job import WORKING_PREFIX
from worker.files import numbered

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
#: How file systems say that they have no hard links, or not here.
_NO_HARD_LINKS = {errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}
#: What a name or a folder is wrong for, however often we try.
_HOPELESS = {errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EROFS}
_READ_SIZE = 1 << 20
#: The code of a job whose part file another process on this machine still has open.
PART_FILE_BUSY = "part_file_busy"
#: So many files of one name are numbered before we give up.
MAX_CLASHES = 10_000


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What the last checkpoint says. `durable` bytes are fsynced; the rest describes their source."""

    __pydantic_config__ = ConfigDict(strict=True)

    durable: int = 0
    total: int | None = None
    validator: str | None = None
    """What If-Range asks with; None when these bytes cannot be continued."""
    etag: str | None = None
    """As sent, weak or strong; a continuation that says another one is of another file."""
    last_modified: str | None = None
    name: str | None = None


_CHECKPOINT = TypeAdapter(Checkpoint)


class PartFile:
    """The part file of one job, open and locked. Close it, or use it as a context manager.

    Attributes:
        size: bytes in the file.
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
        with disk_errors():
            directory.mkdir(parents=True, exist_ok=True)
            self._fd = _open_locked(self.path)
            self.size = os.fstat(self._fd).st_size
        self.checkpoint = self._read_checkpoint()

    @staticmethod
    def exists(directory: Path, job_id: str) -> bool:
        """Say whether there is a part file of this job, without making one."""
        with disk_errors():
            return _part_path(directory, job_id).exists()

    # ── writing ─────────────────────────────────────────────────────────────────────────────────

    def write(self, data: bytes) -> None:
        """Append bytes; raise DiskFullError when they do not fit."""
        with disk_errors():
            view = memoryview(data)
            while view:
                written = os.write(self._fd, view)
                self.size += written
                view = view[written:]

    def resume_at(self, size: int) -> None:
        """Drop what lies beyond `size` and append from there."""
        with disk_errors():
            if size < self.checkpoint.durable:
                # The old checkpoint must never vouch for bytes that are about to be replaced.
                self._checkpoint_path.unlink(missing_ok=True)
                self.checkpoint = Checkpoint()
            os.ftruncate(self._fd, size)
            os.lseek(self._fd, size, os.SEEK_SET)
        self.size = size

    def check_room(self, total: int, keep_free: int) -> None:
        """Raise DiskFullError unless the rest of `total` bytes fits with `keep_free` bytes left."""
        missing = max(0, total - self.size)
        with disk_errors():
            free = shutil.disk_usage(self.path.parent).free
        if missing + keep_free > free:
            raise DiskFullError(
                f"{missing:,} bytes are missing and {keep_free:,} stay free, "
                f"but {self.path.parent} has only {free:,}."
            )

    def sync(self, described: Checkpoint) -> int:
        """Make what is there durable and write the checkpoint; return the durable bytes.

        `described` says where the bytes are from; how many are durable is known here.
        Safe to call from another thread while bytes are appended: it vouches for what was there first.
        """
        size = self.size
        with disk_errors():
            os.fdatasync(self._fd)
            checkpoint = replace(described, durable=size)
            self._write_checkpoint(checkpoint)
        self.checkpoint = checkpoint
        return size

    # ── the end ─────────────────────────────────────────────────────────────────────────────────

    def digest(self, algorithm: str, check: Callable[[], None]) -> str:
        """Return the hexadecimal digest of the bytes on disk; `check` runs before every block."""
        hasher = hashlib.new(algorithm, usedforsecurity=False)
        position = 0
        while True:
            check()
            with disk_errors():
                block = os.pread(self._fd, _READ_SIZE, position)
            if not block:
                return hasher.hexdigest()
            hasher.update(block)
            position += len(block)

    def publish(self, name: str, *, overwrite: bool) -> Path:
        """Give the file its final name, atomically, and return its path.

        A name that is taken gets a number, unless `overwrite` says to replace it. The part file's own
        name stays until `forget`: a second link by which a crash in between is recognised.
        """
        with disk_errors():
            os.fsync(self._fd)
            os.fchmod(self._fd, 0o666 & ~_umask())
            path = self._replace(name) if overwrite else self._link(name)
            _sync_directory(self.path.parent)
        return path

    def published_path(self) -> Path | None:
        """Return the final path if this part file has been published already, else None."""
        with disk_errors():
            status = os.fstat(self._fd)
            if status.st_nlink < 2:
                return None
            with os.scandir(self.path.parent) as entries:
                for entry in entries:
                    # Our own working names do not count: a crash can leave one as a second link.
                    if entry.inode() == status.st_ino and not entry.name.startswith(WORKING_PREFIX):
                        return Path(entry.path)
        return None

    def forget(self) -> None:
        """Remove every working name of this job; a published file keeps its own name."""
        with disk_errors():
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

    def _read_checkpoint(self) -> Checkpoint:
        try:
            checkpoint = _CHECKPOINT.validate_json(self._checkpoint_path.read_bytes())
        except (OSError, ValueError):
            # None, or one a crash tore: then nothing is vouched for.
            return Checkpoint()
        return checkpoint if 0 <= checkpoint.durable <= self.size else Checkpoint()

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
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _names(path, fd):
                return fd
        except BlockingIOError:
            os.close(fd)
            raise TransientError(
                f"Another process still writes {path}.", code=PART_FILE_BUSY
            ) from None
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
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@cache
def _umask() -> int:
    """Return the process's umask; asking for it the usual way would change it for a moment."""
    with suppress(OSError):  # not every system tells
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    return 0o022


class disk_errors:  # noqa: N801 - reads as a statement: `with disk_errors():`
    """Turns the operating system's disk errors into ours."""

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not isinstance(error, OSError):
            return
        if error.errno in _DISK_FULL:
            raise DiskFullError(f"The disk is full: {error}.") from error
        if error.errno in _HOPELESS:
            raise PermanentError(f"The file cannot be there: {error}.", code="bad_path") from error
        raise TransientError(f"The disk refuses: {error}.", code="disk_error") from error
