"""What the test origin serves: given bytes, or generated ones of any length."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cached_property

BLOCK = 256 * 1024  # bytes of content taken from one place of the pool
POOL = 4 * BLOCK  # pseudo-random bytes kept in memory for one file


class Content:
    """The bytes of one resource: known size, any part of it, the same every time."""

    def __init__(self, size: int, identity: str) -> None:
        """`size` in bytes; `identity` distinguishes this content from every other one."""
        if size < 0:
            raise ValueError(f"a size cannot be negative: {size}")
        self.size = size
        self.identity = identity

    def blocks(self, start: int, stop: int) -> Iterator[memoryview]:
        """The bytes from `start` up to, not including, `stop`, in pieces without copying."""
        raise NotImplementedError

    def slice(self, start: int, stop: int) -> bytes:
        """The bytes from `start` up to, not including, `stop`, as Python slices them."""
        first, last, _ = slice(start, stop).indices(self.size)
        return b"".join(self.blocks(first, last))

    @cached_property
    def sha256(self) -> str:
        """The hexadecimal SHA-256 of all bytes; computed once, at the first use."""
        digest = hashlib.sha256()
        for block in self.blocks(0, self.size):
            digest.update(block)
        return digest.hexdigest()


class BytesContent(Content):
    """Content that is given."""

    def __init__(self, body: bytes) -> None:
        super().__init__(len(body), hashlib.sha256(body).hexdigest())
        self._view = memoryview(body)

    def blocks(self, start: int, stop: int) -> Iterator[memoryview]:
        if start < stop:
            yield self._view[start:stop]


class GeneratedContent(Content):
    """Pseudo-random content made from a seed.

    Every block is a window into one small pool of random bytes, at a place that depends on the
    block's number. So a piece that a client writes at the wrong place does not fit there, even
    when it is wrong by whole blocks, and serving needs neither memory nor computation.
    """

    def __init__(self, seed: str, size: int) -> None:
        super().__init__(size, hashlib.sha256(f"{size}:{seed}".encode()).hexdigest())
        self._seed = seed

    def blocks(self, start: int, stop: int) -> Iterator[memoryview]:
        while start < stop:
            number, inside = divmod(start, BLOCK)
            end = min(stop, (number + 1) * BLOCK)
            window = self._window(number) + inside
            yield self._pool[window : window + end - start]
            start = end

    @cached_property
    def _pool(self) -> memoryview:
        return memoryview(hashlib.shake_256(self._seed.encode()).digest(POOL))

    def _window(self, number: int) -> int:
        digest = hashlib.blake2b(f"{number}:{self._seed}".encode(), digest_size=8).digest()
        return int.from_bytes(digest) % (POOL - BLOCK)
