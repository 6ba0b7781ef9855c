"""What the file beside a part file says: which of its bytes are durable, and what file they are of."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pydantic import ConfigDict, TypeAdapter

from domain.files import MAX_SIZE, Checksum
from worker.storage.filenames import safe_name

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


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


def read_checkpoint(text: bytes) -> Checkpoint:
    """Return what a checkpoint's file says.

    The file may be torn, or written by another program: its name becomes a file's, and its validators
    are sent in headers.

    Raises:
        ValueError, InvalidInputError: it is none that this service writes.
    """
    found = _CHECKPOINT.validate_json(text)
    if found.name is not None and safe_name(found.name) != found.name:
        raise ValueError("Its name is no file's.")
    if any(one and _CONTROL.search(one) for one in (found.validator, found.date)):
        raise ValueError("Its validator has control characters.")
    if found.total is not None and found.total > MAX_SIZE:
        raise ValueError("Its total is no file's size.")
    for digest in found.digests:
        Checksum.parse(digest)
    return found
