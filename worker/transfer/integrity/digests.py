"""Computes the digests of a file while it is fetched, so that they are ready soon after the last byte.

Bytes are hashed in the order of the file, up to its first gap: from memory where they arrive in that
order, else they are read back from the page cache. Segments arrive in any order, and an earlier attempt
may have written some.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import Executor
from typing import Protocol

import google_crc32c

from domain.errors import SeenError, TransientError
from worker.storage.destination import Destination

#: Fits into the processor's cache.
_BLOCK_SIZE = 256 * 1024
#: Fewer new bytes than this do not pay for a switch to another thread.
_MIN_BATCH = 1 << 20
#: After this many bytes the thread serves another transfer.
_MAX_BATCH = 16 << 20


class Hasher(Protocol):
    """Computes a digest, as the objects of hashlib do."""

    def update(self, data: bytes | memoryview, /) -> None:
        """Add bytes."""

    def hexdigest(self) -> str:
        """Return the digest of the bytes so far, in lower-case hexadecimal."""


class _Crc32c:
    """CRC-32C (Castagnoli), as eight hexadecimal digits, most significant first."""

    def __init__(self) -> None:
        self._checksum = google_crc32c.Checksum()

    def update(self, data: bytes | memoryview, /) -> None:
        self._checksum.update(bytes(data))

    def hexdigest(self) -> str:
        digest: bytes = self._checksum.digest()
        return digest.hex()


def new_hasher(algorithm: str) -> Hasher:
    """Return a new hasher for one of the algorithms of `Checksum`."""
    if algorithm == "crc32c":
        return _Crc32c()
    create = getattr(hashlib, algorithm)  # `hashlib.new` takes three times as long
    hasher: Hasher = create(usedforsecurity=False)
    return hasher


class PrefixDigests:
    """The digests of one file.

    Args:
        source: must stay open until `close`.
        algorithms: names as in `Checksum`.
        pool: runs the hashing, shared by all transfers of the process.
    """

    def __init__(self, source: Destination, algorithms: Iterable[str], pool: Executor) -> None:
        self._source = source
        self._pool = pool
        self._hashers = {name: new_hasher(name) for name in algorithms}
        self._position = 0
        self._available = 0
        self._mutex = threading.Condition()
        self._busy = self._closed = False
        self._error: SeenError | None = None

    def hash_while(self, write: Callable[[], int], chunks: Sequence[bytes], position: int) -> int:
        """Call `write`, which writes `chunks` at `position`, and return its result.

        They are hashed from memory meanwhile if they follow the bytes that are hashed.
        """
        with self._mutex:
            follows = not (self._busy or self._closed) and position == self._position
            self._busy = self._busy or follows
        if not follows:
            return write()
        try:
            if sum(map(len, chunks)) < _MIN_BATCH:
                size = write()
                self._hash(chunks)
                return size
            hashing = self._pool.submit(self._hash, chunks)
            try:
                return write()
            finally:
                hashing.result()
        finally:
            self._schedule_next()

    def advance_to(self, available: int) -> None:
        """Record that the first `available` bytes of the file are written."""
        with self._mutex:
            self._available = available
            if not (self._busy or self._closed) and available - self._position >= _MIN_BATCH:
                self._busy = True
                self._pool.submit(self._hash_batch)

    @property
    def position(self) -> int:
        """How many bytes of the file are hashed."""
        return self._position

    @property
    def is_busy(self) -> bool:
        """Whether a thread hashes."""
        return self._busy

    def are_fresh(self, algorithms: AbstractSet[str]) -> bool:
        """Return whether these are its algorithms, and no byte is hashed or about to be."""
        is_fresh = not self._busy and self._position == self._available == 0
        return is_fresh and self._hashers.keys() == algorithms

    def has_hashed(self, size: int) -> bool:
        """Return whether `finish` would return at once."""
        return not self._busy and self._error is None and self._position == size

    def finish(self, size: int, check: Callable[[], None]) -> dict[str, str]:
        """Return the hexadecimal digests of the whole file of `size` bytes, by algorithm.

        Args:
            check: called at least once, and before every remaining block; it may raise to end this.

        Raises:
            TransientError: the destination could not be read.
        """
        check()
        self._wait(check)
        if self._error is not None:
            raise self._error
        buffer = memoryview(bytearray(_BLOCK_SIZE))
        while self._position < size:
            check()
            self._hash_block(buffer, size)
        return {name: hasher.hexdigest() for name, hasher in self._hashers.items()}

    def stop(self) -> None:
        """Stop hashing soon."""
        self._closed = True

    def close(self) -> None:
        """Stop hashing; the destination may be closed after this."""
        self.stop()
        self._wait(lambda: None)

    def _wait(self, check: Callable[[], None]) -> None:
        with self._mutex:
            while self._busy:
                self._mutex.wait(0.2)
                check()

    def _hash_batch(self) -> None:
        try:
            buffer = memoryview(bytearray(_BLOCK_SIZE))
            end = min(self._available, self._position + _MAX_BATCH)
            while self._position < end and not self._closed:
                self._hash_block(buffer, end)
        except SeenError as error:
            self._error = error
        finally:
            self._schedule_next()

    def _schedule_next(self) -> None:
        with self._mutex:
            more = self._available - self._position >= _MIN_BATCH
            if more and not self._closed and self._error is None:
                self._pool.submit(self._hash_batch)
            else:
                self._busy = False
                self._mutex.notify_all()

    def _hash_block(self, buffer: memoryview, end: int) -> None:
        size = self._source.read_at(buffer[: end - self._position], self._position)
        if size == 0:
            raise TransientError(
                f"{self._source.location} has only {self._position:,} bytes, {end:,} were written.",
                code="disk_error",
            )
        self._hash([buffer[:size]])

    def _hash(self, chunks: Sequence[bytes | memoryview]) -> None:
        for hasher in self._hashers.values():
            for chunk in chunks:
                hasher.update(chunk)
        self._position += sum(map(len, chunks))
