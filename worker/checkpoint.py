"""What the file beside a part file says: which of its bytes are durable, and what file they are of."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import ConfigDict, TypeAdapter


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


CHECKPOINT = TypeAdapter(Checkpoint)
