"""Digests of a file that is still coming in, computed behind the transfer: nobody waits at its end.

They follow the bytes that are there without a gap from the file's start, and read them back from the
system's page cache: segments arrive in any order, and what another worker fetched counts as well.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Executor

from domain.errors import SeenError, TransientError
from worker.storage.destination import Destination
from worker.transfer.integrity.hashers import new_hasher

#: Fits into a processor's cache, so that what is read is hashed from there.
_BLOCK_SIZE = 256 * 1024
#: Less than this much is not worth waking another thread for.
_MIN_BATCH = 1 << 20
#: After this much another download has its turn.
_MAX_BATCH = 16 << 20


class PrefixDigests:
    """The digests of one part file.

    Args:
        part: stays open until `close`.
        algorithms: by name, as `domain.files.Checksum` knows them.
        pool: runs the hashing, shared by all downloads of the process.
    """

    def __init__(self, part: Destination, algorithms: Iterable[str], pool: Executor) -> None:
        self._part = part
        self._pool = pool
        self._hashers = {name: new_hasher(name) for name in algorithms}
        self._position = 0
        self._available = 0
        self._mutex = threading.Condition()
        self._busy = self._closed = False
        self._error: SeenError | None = None

    def advance_to(self, available: int) -> None:
        """Note that the file is there from its start up to `available` bytes."""
        self._available = available
        if not self._busy and available - self._position >= _MIN_BATCH:
            self._busy = True
            self._pool.submit(self._hash_batch)

    def finish(self, size: int, check: Callable[[], None]) -> dict[str, str]:
        """Return the hexadecimal digests of the whole file, which has `size` bytes; by algorithm.

        Args:
            check: runs before every block that is still to be hashed; ends it by raising.

        Raises:
            TransientError: the disk could not be read.
        """
        self._wait(check)
        if self._error is not None:
            raise self._error
        buffer = memoryview(bytearray(_BLOCK_SIZE))
        while self._position < size:
            check()
            self._hash_block(buffer, size)
        return {name: hasher.hexdigest() for name, hasher in self._hashers.items()}

    def close(self) -> None:
        """Hash no more; the part file may be closed after this."""
        with self._mutex:
            self._closed = True
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
        size = self._part.read_at(buffer[: end - self._position], self._position)
        if size == 0:
            raise TransientError(
                f"{self._part.location} has only {self._position:,} bytes, {end:,} were written.",
                code="disk_error",
            )
        for hasher in self._hashers.values():
            hasher.update(buffer[:size])
        self._position += size
