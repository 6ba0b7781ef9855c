"""The checkpoint of a part file: which of its bytes are durable, and from which resource they came."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pydantic import ConfigDict, TypeAdapter

from domain.files import MAX_SIZE, Checksum
from worker.storage.filenames import safe_name

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


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
        return sum(end - start for start, end in self.written)

    def fits(self, size: int) -> bool:
        """Return whether a file of `size` bytes can contain these intervals."""
        position = 0
        for start, end in self.written:
            if not position <= start < end:
                return False
            position = end
        return position <= size and (self.total is None or position <= self.total)


_CHECKPOINT = TypeAdapter(Checkpoint)


def read_checkpoint(text: bytes) -> Checkpoint:
    """Parse a checkpoint.

    It may be incomplete or written by another program, so `name`, which becomes a file name, and the
    validators, which are sent in headers, are checked.

    Raises:
        ValueError, InvalidInputError: the service would not write this.
    """
    found = _CHECKPOINT.validate_json(text)
    if found.name is not None and safe_name(found.name) != found.name:
        raise ValueError("Its name is not a file name.")
    if any(one and _CONTROL.search(one) for one in (found.validator, found.date)):
        raise ValueError("Its validator has control characters.")
    if found.total is not None and found.total > MAX_SIZE:
        raise ValueError("Its total is not a file size.")
    for digest in found.digests:
        Checksum.parse(digest)
    return found
