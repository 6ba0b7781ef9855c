"""Which bytes of a file are written, received or missing, and which of these are being fetched. No I/O.

The segments of a file follow each other without gaps. Each is filled from its start by the connection
that claims it. When a connection has nothing left to do, what is missing of another one's segment is
split: the first part stays claimed and now ends sooner.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

#: Half-open: from the first number up to, but not including, the second.
Interval = tuple[int, int]


@dataclass(eq=False, slots=True)
class Segment:
    """Bytes `start` to `end` (exclusive); those before `position` are written.

    `end` is None while the size of the file is unknown. Bytes from `position` to `received` wait for the
    disk; those from there on are missing.
    """

    start: int
    position: int
    end: int | None
    is_claimed: bool = False
    received: int = field(init=False)

    def __post_init__(self) -> None:
        self.received = self.position

    @property
    def remaining(self) -> int | None:
        """Bytes that are missing; None while the end is unknown."""
        return None if self.end is None else self.end - self.received

    @property
    def is_full(self) -> bool:
        """Whether nothing is missing."""
        return self.end == self.received


class SegmentMap:
    """The segments of one file, in order.

    Args:
        total: size of the file in bytes; None while unknown.
        written: the intervals that are written already.
        min_size: no segment is split into parts smaller than this many bytes.

    Attributes:
        downloaded: bytes written, anywhere in the file.
        received: bytes received: those written, and those that wait for the disk.
    """

    def __init__(
        self, total: int | None, written: Iterable[Interval] = (), *, min_size: int
    ) -> None:
        self.total = total
        self._min_size = min_size
        self._segments = _segments_of(total, _merged(written))
        self.downloaded = sum(segment.position - segment.start for segment in self._segments)
        self.received = self.downloaded

    # ── queries ─────────────────────────────────────────────────────────────────────────────────

    @property
    def is_complete(self) -> bool:
        """Whether every byte is written; never while the size is unknown."""
        return self.downloaded == self.total

    @property
    def is_received(self) -> bool:
        """Whether no byte is missing; never while the size is unknown."""
        return self.received == self.total

    @property
    def is_untouched(self) -> bool:
        """Whether there is a single segment, and nothing is received."""
        return self.received == 0 and len(self._segments) == 1

    @property
    def remaining(self) -> int | None:
        """Bytes that are missing; None while the size is unknown."""
        return None if self.total is None else self.total - self.received

    @property
    def prefix(self) -> int:
        """How many bytes are written without a gap from the file's first byte on."""
        end = 0
        for segment in self._segments:
            if segment.start != end:
                break
            end = segment.position
            if end != segment.end:
                break
        return end

    def written(self) -> list[Interval]:
        """Return the written intervals in order, adjacent ones joined."""
        return _merged((segment.start, segment.position) for segment in self._segments)

    def has_unclaimed(self) -> bool:
        """Return whether a segment that is not full is unclaimed."""
        return any(not segment.is_claimed and not segment.is_full for segment in self._segments)

    # ── changes ─────────────────────────────────────────────────────────────────────────────────

    def claim_next(self) -> Segment | None:
        """Claim the first segment that is unclaimed and not full; return None when there is none."""
        for segment in self._segments:
            if not segment.is_claimed and not segment.is_full:
                segment.is_claimed = True
                return segment
        return None

    def claim_first(self) -> Segment:
        """Claim the segment at the start of the file."""
        segment = self._segments[0]
        segment.is_claimed = True
        return segment

    def split(self, segment: Segment, parts: int = 2) -> Segment | None:
        """Split what is missing of `segment` into at most `parts` equal parts.

        `segment` keeps the first one. The second is claimed and returned; the others stay unclaimed.
        Returns None when the parts would be too small.
        """
        if segment.end is None:
            return None
        missing = segment.end - segment.received
        parts = min(parts, missing // self._min_size)
        if parts < 2:
            return None
        step = -(-missing // parts)
        cuts = [*range(segment.received + step, segment.end, step), segment.end]
        new = [Segment(start, start, end) for start, end in pairwise(cuts)]
        segment.end = cuts[0]
        index = self._segments.index(segment) + 1
        self._segments[index:index] = new
        new[0].is_claimed = True
        return new[0]

    def receive(self, segment: Segment, size: int) -> None:
        """Record that `size` more bytes of `segment` are received."""
        segment.received += size
        self.received += size

    def advance(self, segment: Segment, size: int) -> None:
        """Record that `size` more received bytes of `segment` are written."""
        segment.position += size
        self.downloaded += size

    def release(self, segment: Segment) -> None:
        """Let other connections claim what is missing of `segment`."""
        segment.is_claimed = False

    def extend(self, segment: Segment) -> None:
        """Join to `segment` the empty, unclaimed segments that follow it."""
        index = self._segments.index(segment) + 1
        while index < len(self._segments):
            follower = self._segments[index]
            if follower.is_claimed or follower.received > follower.start:
                return
            segment.end = follower.end
            del self._segments[index]

    def set_total(self, total: int) -> None:
        """Set the size of the file once it is known."""
        self.total = total
        self._segments[-1].end = total


def _merged(intervals: Iterable[Interval]) -> list[Interval]:
    """Return intervals in order, without empty ones, joined where they touch or overlap."""
    merged: list[Interval] = []
    for start, end in sorted(intervals):
        if start >= end:
            continue
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _segments_of(total: int | None, written: list[Interval]) -> list[Segment]:
    """Return segments for the whole file: each is a written interval and the gap after it."""
    starts = [start for start, _ in written]
    if not starts or starts[0] > 0:
        written = [(0, 0), *written]
        starts = [0, *starts]
    ends: list[int | None] = [*starts[1:], total]
    return [
        Segment(start, position, end) for (start, position), end in zip(written, ends, strict=True)
    ]
