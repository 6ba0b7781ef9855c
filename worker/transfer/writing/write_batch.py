"""What one thread does at once for one file: prepare the destination, write and hash bytes, finish."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from worker.storage.destination import Destination
from worker.transfer.integrity.digests import PrefixDigests
from worker.transfer.segments import Segment, SegmentMap

#: Chunks in one write. pwritev accepts 1,024; as many of 16 KiB are as many as a file that grows
#: reserves space for at once.
_MAX_CHUNKS = 64

_Step = Callable[[], None]


@dataclass(slots=True)
class _Write:
    segment: Segment
    position: int
    chunks: list[bytes]
    size: int


@dataclass(slots=True)
class WriteBatch:
    """Collects what is to be done, on the event loop; then `run` does it in a thread, once.

    Attributes:
        size: bytes to write.
        discards: all bytes of the destination are discarded first.
    """

    size: int = 0
    discards: bool = False
    _before: list[_Step] = field(default_factory=list)
    _writes: list[_Write] = field(default_factory=list)
    _after: list[_Step] = field(default_factory=list)

    @property
    def has_work(self) -> bool:
        """Whether there is anything to do."""
        return bool(self._before or self._writes or self._after)

    # ── collect ─────────────────────────────────────────────────────────────────────────────────

    def discard(self, step: _Step) -> None:
        """Add a step that discards the bytes of the destination."""
        self.discards = True
        self._before.append(step)

    def prepare(self, step: _Step) -> None:
        """Add a step before the bytes are written."""
        self._before.append(step)

    def add(self, segment: Segment, chunks: list[bytes], size: int) -> None:
        """Add bytes that follow those received of `segment`."""
        last = self._writes[-1] if self._writes else None
        if last is not None and last.segment is segment:
            last.chunks += chunks
            last.size += size
        else:
            self._writes.append(_Write(segment, segment.received, chunks, size))
        self.size += size

    def finish(self, step: _Step) -> None:
        """Add a step after the bytes are written."""
        self._after.append(step)

    # ── run ─────────────────────────────────────────────────────────────────────────────────────

    def run(self, destination: Destination, digests: PrefixDigests, *, grows: bool) -> None:
        """Do it all, in a thread.

        Args:
            grows: no space is reserved for the whole file.

        Raises:
            SeenError: the disk refuses.
        """
        for step in self._before:
            step()
        for one in self._writes:
            write = partial(_write, destination, one.chunks, one.position, grows=grows)
            digests.hash_while(write, one.chunks, one.position)
        for step in self._after:
            step()

    def count(self, segments: SegmentMap) -> None:
        """Count its bytes as written, on the event loop."""
        for one in self._writes:
            segments.advance(one.segment, one.size)


def _write(destination: Destination, chunks: Sequence[bytes], position: int, *, grows: bool) -> int:
    written = 0
    for start in range(0, len(chunks), _MAX_CHUNKS):
        part = chunks[start : start + _MAX_CHUNKS]
        if grows:
            destination.reserve_growth(sum(map(len, part)))
        written += destination.write_at(part, position + written)
    return written
