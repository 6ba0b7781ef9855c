"""The bookkeeping of pieces: examples, and what holds whatever is done to them."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from worker.transfer.segments import Piece, Pieces

SMALLEST = 10


def pieces(total: int | None, *written: tuple[int, int]) -> Pieces:
    return Pieces(total, written, smallest=SMALLEST)


def span(piece: Piece | None) -> tuple[int, int, int | None] | None:
    return None if piece is None else (piece.start, piece.position, piece.end)


def test_a_new_file_is_one_piece_without_end() -> None:
    new = pieces(None)
    assert (new.is_untouched, new.is_complete, new.left, new.prefix) == (True, False, None, 0)
    assert span(new.take()) == (0, 0, None)
    assert new.take() is None
    new.set_total(50)
    assert new.left == 50


def test_an_empty_file_is_complete_once_that_is_known() -> None:
    new = pieces(None)
    new.set_total(0)
    assert new.is_complete


def test_what_is_written_is_not_fetched_again() -> None:
    found = pieces(100, (0, 20), (20, 30), (50, 60), (55, 70))
    assert found.written() == [(0, 30), (50, 70)]
    assert (found.count, found.left, found.prefix) == (50, 50, 30)
    assert [span(found.take()), span(found.take())] == [(0, 30, 50), (50, 70, 100)]
    assert not found.has_free()


def test_a_gap_at_the_start_is_taken_first() -> None:
    found = pieces(100, (40, 60))
    assert found.prefix == 0
    assert span(found.take()) == (0, 0, 40)


def test_half_of_what_is_missing_goes_to_another() -> None:
    one = pieces(100)
    first = one.take()
    assert first is not None
    one.advance(first, 20)
    second = one.split(first)
    assert (span(first), span(second)) == ((0, 20, 60), (60, 60, 100))
    assert one.take() is None, "both halves have an owner"


def test_several_parts_are_equal_and_the_second_is_owned() -> None:
    one = pieces(100)
    first = one.take()
    assert first is not None
    assert span(one.split(first, 4)) == (25, 25, 50)
    assert span(first) == (0, 0, 25)
    assert [span(one.take()), span(one.take()), one.take()] == [(50, 50, 75), (75, 75, 100), None]


@pytest.mark.parametrize("left", [1, SMALLEST, 2 * SMALLEST - 1])
def test_what_is_too_small_is_not_cut(left: int) -> None:
    one = pieces(left)
    piece = one.take()
    assert piece is not None
    assert one.split(piece) is None
    assert span(piece) == (0, 0, left)


def test_what_has_no_end_is_not_cut() -> None:
    one = pieces(None)
    piece = one.take()
    assert piece is not None
    assert one.split(piece) is None


def test_who_reads_on_takes_over_untouched_pieces_only() -> None:
    one = pieces(100)
    first = one.take()
    assert first is not None
    one.split(first, 4)  # the second is owned
    one.extend(first)
    assert span(first) == (0, 0, 25)
    one.give_back(one._pieces[1])
    one.extend(first)
    assert span(first) == (0, 0, 100)


class PiecesMachine(RuleBasedStateMachine):
    """Any order of what a transfer may do."""

    def __init__(self) -> None:
        super().__init__()
        self.total: int | None = None
        self.pieces = pieces(None)
        self.owned: list[Piece] = []
        self.bytes: set[int] = set()

    @precondition(lambda self: self.total is None)
    @rule(more=st.integers(0, 300))
    def learn_total(self, more: int) -> None:
        self.total = self.pieces.count + more
        self.pieces.set_total(self.total)

    @rule()
    def take(self) -> None:
        piece = self.pieces.take()
        if piece is not None:
            assert all(piece is not other for other in self.owned)
            self.owned.append(piece)

    @precondition(lambda self: self.owned)
    @rule(data=st.data(), parts=st.integers(2, 5))
    def split(self, data: st.DataObject, parts: int) -> None:
        new = self.pieces.split(data.draw(st.sampled_from(self.owned)), parts)
        if new is not None:
            self.owned.append(new)

    @precondition(lambda self: self.owned)
    @rule(data=st.data(), size=st.integers(1, 60))
    def advance(self, data: st.DataObject, size: int) -> None:
        piece = data.draw(st.sampled_from(self.owned))
        size = size if piece.left is None else min(size, piece.left)
        new = set(range(piece.position, piece.position + size))
        assert not new & self.bytes, "no byte is fetched twice"
        self.bytes |= new
        self.pieces.advance(piece, size)

    @precondition(lambda self: self.owned)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        piece = data.draw(st.sampled_from(self.owned))
        self.owned.remove(piece)
        self.pieces.give_back(piece)

    @precondition(lambda self: self.owned)
    @rule(data=st.data())
    def extend(self, data: st.DataObject) -> None:
        self.pieces.extend(data.draw(st.sampled_from(self.owned)))

    @precondition(lambda self: self.total is not None)
    @rule()
    def crash_and_resume(self) -> None:
        self.pieces = pieces(self.total, *self.pieces.written())
        self.owned = []

    @invariant()
    def they_cover_the_file(self) -> None:
        all_pieces = self.pieces._pieces
        assert all_pieces[0].start == 0
        assert all(one.end == other.start for one, other in pairwise(all_pieces))
        assert all_pieces[-1].end == self.total
        assert all(one.start <= one.position for one in all_pieces)
        assert all(one.end is None or one.position <= one.end for one in all_pieces)

    @invariant()
    def they_know_what_is_there(self) -> None:
        written = self.pieces.written()
        assert {at for start, end in written for at in range(start, end)} == self.bytes
        assert all(one[1] < other[0] for one, other in pairwise(written)), "joined, and in order"
        assert self.pieces.count == len(self.bytes)
        gap = next(at for at in range(len(self.bytes) + 1) if at not in self.bytes)
        assert self.pieces.prefix == gap
        assert self.pieces.is_complete == (self.total == len(self.bytes))


PiecesMachine.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
test_whatever_is_done_the_pieces_are_right = PiecesMachine.TestCase
