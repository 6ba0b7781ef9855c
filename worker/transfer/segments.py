"""Which bytes of a file are there, which are being fetched, and which nobody fetches yet. Pure.

The file is cut into pieces that follow each other without gap. Each is filled from its start; a
connection owns the piece it fills. Where a connection runs dry, what is missing of another one's piece
is cut in half, and the owner of the first half finds its piece ending sooner.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

#: Half-open: bytes from the first number up to, and not including, the second.
Interval = tuple[int, int]


@dataclass(eq=False, slots=True)
class Piece:
    """Bytes from `start` to `end`, of which those before `position` are on disk.

    `end` is None while nobody knows where the file ends.
    """

    start: int
    position: int
    end: int | None
    owned: bool = False

    @property
    def left(self) -> int | None:
        """Bytes that are missing, or None where nobody knows."""
        return None if self.end is None else self.end - self.position

    @property
    def is_full(self) -> bool:
        """Whether nothing is missing."""
        return self.end == self.position


class Pieces:
    """The pieces of one file, in order.

    Args:
        total: the file's size in bytes, None while unknown.
        written: what is on disk already.
        smallest: no piece is cut into halves smaller than this many bytes.
    """

    def __init__(
        self, total: int | None, written: Iterable[Interval] = (), *, smallest: int
    ) -> None:
        self.total = total
        self._smallest = smallest
        self._pieces = _cut(total, _merged(written))
        self.count = sum(piece.position - piece.start for piece in self._pieces)
        """Bytes on disk, wherever in the file."""

    # ── asking ──────────────────────────────────────────────────────────────────────────────────

    @property
    def is_complete(self) -> bool:
        """Whether every byte is there; never while the size is unknown."""
        return self.count == self.total

    @property
    def is_untouched(self) -> bool:
        """Whether it is one piece, and nothing of it is there."""
        return self.count == 0 and len(self._pieces) == 1

    @property
    def left(self) -> int | None:
        """Bytes that are missing, or None where nobody knows."""
        return None if self.total is None else self.total - self.count

    @property
    def prefix(self) -> int:
        """How many bytes are there without a gap from the file's first byte on."""
        end = 0
        for piece in self._pieces:
            if piece.start != end:
                break
            end = piece.position
            if not piece.is_full:
                break
        return end

    def written(self) -> list[Interval]:
        """Return what is on disk, in order, neighbours joined."""
        return _merged((piece.start, piece.position) for piece in self._pieces)

    def has_free(self) -> bool:
        """Say whether a piece waits for an owner."""
        return any(not piece.owned and not piece.is_full for piece in self._pieces)

    # ── changing ────────────────────────────────────────────────────────────────────────────────

    def take(self) -> Piece | None:
        """Own the first piece that nobody owns, from its first missing byte on; None: there is none."""
        for piece in self._pieces:
            if not piece.owned and not piece.is_full:
                piece.owned = True
                return piece
        return None

    def first(self) -> Piece:
        """Own the piece that the file begins with."""
        piece = self._pieces[0]
        piece.owned = True
        return piece

    def split(self, piece: Piece, parts: int = 2) -> Piece | None:
        """Cut what is missing of `piece` into at most `parts` equal parts.

        `piece` keeps the first one. The second is returned, owned; the others are free. None where the
        parts would be too small.
        """
        if piece.end is None:
            return None
        parts = min(parts, (piece.end - piece.position) // self._smallest)
        if parts < 2:
            return None
        step = -(-(piece.end - piece.position) // parts)
        cuts = [*range(piece.position + step, piece.end, step), piece.end]
        new = [Piece(start, start, end) for start, end in pairwise(cuts)]
        piece.end = cuts[0]
        index = self._pieces.index(piece) + 1
        self._pieces[index:index] = new
        new[0].owned = True
        return new[0]

    def advance(self, piece: Piece, size: int) -> None:
        """Note that `size` more bytes of `piece` are on disk."""
        piece.position += size
        self.count += size

    def give_back(self, piece: Piece) -> None:
        """Nobody owns this piece any more; what is missing of it is free."""
        piece.owned = False

    def extend(self, piece: Piece) -> None:
        """Let `piece` go on over the untouched pieces behind it that nobody owns."""
        index = self._pieces.index(piece) + 1
        while index < len(self._pieces):
            follower = self._pieces[index]
            if follower.owned or follower.position > follower.start:
                return
            piece.end = follower.end
            del self._pieces[index]

    def set_total(self, total: int) -> None:
        """Note the size of the file once it is known."""
        self.total = total
        self._pieces[-1].end = total


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


def _cut(total: int | None, written: list[Interval]) -> list[Piece]:
    """Return pieces that cover the whole file: each has what is written, then what is missing."""
    starts = [start for start, _ in written]
    if not starts or starts[0] > 0:
        written = [(0, 0), *written]
        starts = [0, *starts]
    ends: list[int | None] = [*starts[1:], total]
    return [
        Piece(start, position, end) for (start, position), end in zip(written, ends, strict=True)
    ]
