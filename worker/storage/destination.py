"""Where a transfer writes its bytes: the interface that the transfer and the runner depend on.

`PartFile` implements it for the file system. An object store would implement the same methods with a
multipart upload: `write_at` fills parts, `write_checkpoint` saves their list, `publish` completes the
upload, and `discard` aborts it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Protocol, Self

from pydantic import ConfigDict


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Which bytes of a part file are durable, and the resource that they are part of."""

    __pydantic_config__ = ConfigDict(strict=True)

    written: tuple[tuple[int, int], ...] = ()
    """The durable bytes as half-open intervals, in order."""
    total: int | None = None
    validator: str | None = None
    """The validator to send as If-Range; None if these bytes cannot be continued."""
    date: str | None = None
    """The Last-Modified date where it is a strong validator."""
    etag: str | None = None
    """As received, weak or strong. A response with another one is of another file."""
    last_modified: str | None = None
    encoding: str | None = None
    """The Content-Encoding of these bytes, as received and stored."""
    name: str | None = None
    source: str | None = None
    """The SHA-256 of their URL; the URL itself may contain a secret."""
    digests: tuple[str, ...] = ()
    """The whole file's digests by the origin, as ``algorithm:hex``."""

    @property
    def durable(self) -> int:
        """The number of durable bytes."""
        written = self.written
        if len(written) == 1:  # the bytes of most files, and asked at each turn of a transfer
            return written[0][1] - written[0][0]
        return sum(end - start for start, end in written)

    def fits(self, size: int) -> bool:
        """Return whether a file of `size` bytes can contain these intervals."""
        position = 0
        for start, end in self.written:
            if not position <= start < end:
                return False
            position = end
        return position <= size and (self.total is None or position <= self.total)


class PublishedFile(NamedTuple):
    """A file that an earlier attempt of the job has published already."""

    path: Path
    digests: tuple[str, ...]
    """Those its bytes had when it was published, as ``algorithm:hex``."""


class Destination(Protocol):
    """The output of one job, open for one attempt. Every method raises `SeenError` on failure."""

    notes: list[str]
    """What the job's history should say about how this was opened and published."""

    @property
    def checkpoint(self) -> Checkpoint:
        """The last checkpoint, or the one found on opening; an empty one when there is none."""

    @property
    def location(self) -> str:
        """Where the bytes are, for messages."""

    @property
    def folder(self) -> str:
        """What hangs as one: destinations with the same value share threads."""

    @property
    def size(self) -> int:
        """Length in bytes, gaps included."""

    def reserve(self, total: int) -> None:
        """Reserve space so that the file can have `total` bytes.

        Raises:
            DiskFullError: there is not enough space now.
            PermanentError: there can never be enough.
        """

    def reserve_growth(self, size: int) -> None:
        """Reserve space for `size` more bytes of a file of unknown size.

        Raises:
            DiskFullError: there is not enough space now.
        """

    def write_at(self, chunks: Sequence[bytes], position: int) -> int:
        """Write `chunks` one after another from `position` on; return the number of bytes.

        Raises:
            DiskFullError: they do not fit; `uses_attempt` is set if this file itself filled the disk.
        """

    def read_at(self, buffer: memoryview, position: int) -> int:
        """Fill `buffer` from `position` on; return the number of bytes read, 0 at the end."""

    def write_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Make all written bytes durable, then save `checkpoint`.

        May run in another thread while bytes are written.
        """

    def truncate(self, size: int) -> None:
        """Set the length to `size` bytes."""

    def discard(self) -> None:
        """Delete the checkpoint and all bytes, and release the reserved space."""

    def check_replaceable(self, name: str) -> None:
        """Raise PermanentError if `name` is taken by something that cannot be replaced, as a folder."""

    def publish(
        self,
        name: str,
        *,
        overwrite: bool,
        digests: Sequence[str] = (),
        may_publish: Callable[[], None] = lambda: None,
    ) -> Path:
        """Make the bytes durable and give them their final name in one atomic step; return its path.

        Args:
            name: one path component. Without `overwrite`, a number is added to a name that is taken.
            overwrite: replace the file that has the name.
            digests: of the bytes, as ``algorithm:hex``; `find_published` returns them.
            may_publish: called last before the name is given; it raises to refuse.
        """

    def find_published(self) -> PublishedFile | None:
        """Return the published file if an earlier attempt published this output, else None."""

    def unpublish(self) -> None:
        """Remove the final name if this output has one."""

    def start_empty(self, reason: str) -> None:
        """Continue with an empty output; a file that has been published keeps its bytes and name."""

    def remove_working_files(self) -> None:
        """Remove everything of this job except a published file."""

    def close(self) -> None:
        """Release the output; its bytes stay."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class Destinations(Protocol):
    """Opens the destinations of jobs."""

    def open(self, directory: Path, job_id: str) -> Destination:
        """Open the destination of a job, or resume what an earlier attempt wrote there.

        Args:
            directory: absolute and resolved; created if it is missing.
            job_id: the job's id.

        Raises:
            TransientError: another process has it open, or the folder cannot be used for now.
            PermanentError: the folder cannot be created, or its file system lacks what is needed.
            DiskFullError: there is no space even for an empty file.
        """

    def exists(self, directory: Path, job_id: str) -> bool:
        """Return whether an earlier attempt left bytes of this job; creates nothing."""
