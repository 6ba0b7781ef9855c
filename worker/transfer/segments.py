"""Which bytes of a file are there, which are being fetched, and which nobody fetches yet. Pure.

The file is cut into segments that follow each other without gap. Each is filled from its start; a
connection claims the segment it fills. When a connection has nothing left to do, the missing part of
another one's segment is cut in half; the first half stays claimed and now ends sooner.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

#: Half-open: bytes from the first number up to, and not including, the second.
Interval = tuple[int, int]


@dataclass(eq=False, slots=True)
class Segment:
    """Bytes from `start` to `end`, of which those before `position` are on disk.

    `end` is None while nobody knows where the file ends.
    """

    start: int
    position: int
    end: int | None
    is_claimed: bool = False

    @property
    def remaining(self) -> int | None:
        """Bytes that are missing, or None where nobody knows."""
        return None if self.end is None else self.end - self.position

    @property
    def is_full(self) -> bool:
        """Whether nothing is missing."""
        return self.end == self.position


class SegmentMap:
    """The segments of one file, in order.

    Args:
        total: the file's size in bytes, None while unknown.
        written: what is on disk already.
        min_size: no segment is cut into halves smaller than this many bytes.
    """

    def __init__(
        self, total: int | None, written: Iterable[Interval] = (), *, min_size: int
    ) -> None:
        self.total = total
        self._min_size = min_size
        self._segments = _cut(total, _merged(written))
        self.downloaded = sum(segment.position - segment.start for segment in self._segments)
        """Bytes on disk, wherever in the file."""

    # ── asking ──────────────────────────────────────────────────────────────────────────────────

    @property
    def is_complete(self) -> bool:
        """Whether every byte is there; never while the size is unknown."""
        return self.downloaded == self.total

    @property
    def is_untouched(self) -> bool:
        """Whether it is one segment, and nothing of it is there."""
        return self.downloaded == 0 and len(self._segments) == 1

    @property
    def remaining(self) -> int | None:
        """Bytes that are missing, or None where nobody knows."""
        return None if self.total is None else self.total - self.downloaded

    @property
    def prefix(self) -> int:
        """How many bytes are there without a gap from the file's first byte on."""
        end = 0
        for segment in self._segments:
            if segment.start != end:
                break
            end = segment.position
            if not segment.is_full:
                break
        return end

    def written(self) -> list[Interval]:
        """Return what is on disk, in order, neighbours joined."""
        return _merged((segment.start, segment.position) for segment in self._segments)

    def has_unclaimed(self) -> bool:
        """Say whether a segment waits for an owner."""
        return any(not segment.is_claimed and not segment.is_full for segment in self._segments)

    # ── changing ────────────────────────────────────────────────────────────────────────────────

    def claim_next(self) -> Segment | None:
        """Claim the first segment that is neither claimed nor full; None when there is none."""
        for segment in self._segments:
            if not segment.is_claimed and not segment.is_full:
                segment.is_claimed = True
                return segment
        return None

    def claim_first(self) -> Segment:
        """Own the segment that the file begins with."""
        segment = self._segments[0]
        segment.is_claimed = True
        return segment

    def split(self, segment: Segment, parts: int = 2) -> Segment | None:
        """Cut what is missing of `segment` into at most `parts` equal parts.

        `segment` keeps the first one. The second is claimed and returned; the others stay unclaimed.
        Returns None where the parts would be too small.
        """
        if segment.end is None:
            return None
        parts = min(parts, (segment.end - segment.position) // self._min_size)
        if parts < 2:
            return None
        step = -(-(segment.end - segment.position) // parts)
        cuts = [*range(segment.position + step, segment.end, step), segment.end]
        new = [Segment(start, start, end) for start, end in pairwise(cuts)]
        segment.end = cuts[0]
        index = self._segments.index(segment) + 1
        self._segments[index:index] = new
        new[0].is_claimed = True
        return new[0]

    def advance(self, segment: Segment, size: int) -> None:
        """Note that `size` more bytes of `segment` are on disk."""
        segment.position += size
        self.downloaded += size

    def release(self, segment: Segment) -> None:
        """Nobody owns this segment any more; what is missing of it is free."""
        segment.is_claimed = False

    def extend(self, segment: Segment) -> None:
        """Let `segment` go on over the untouched segments behind it that nobody owns."""
        index = self._segments.index(segment) + 1
        while index < len(self._segments):
            follower = self._segments[index]
            if follower.is_claimed or follower.position > follower.start:
                return
            segment.end = follower.end
            del self._segments[index]

    def set_total(self, total: int) -> None:
        """Note the size of the file once it is known."""
        self.total = total
        self._segments[-1].end = total


def _merged(intervals: Iterable[Interval]) -> list[Interval]:
    """Return intervals in order, joined where they touch or overlap, the empty ones left out."""
    merged: list[Interval] = []
    for start, end in sorted(intervals):
        if start >= end:
            continue
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _cut(total: int | None, written: list[Interval]) -> list[Segment]:
    """Return segments that cover the whole file: each has what is written, then what is missing."""
    starts = [start for start, _ in written]
    if not starts or starts[0] > 0:
        written = [(0, 0), *written]
        starts = [0, *starts]
    ends: list[int | None] = [*starts[1:], total]
    return [
        Segment(start, position, end) for (start, position), end in zip(written, ends, strict=True)
    ]
