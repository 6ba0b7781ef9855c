"""The bookkeeping of segments: examples, and what holds whatever is done to them."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from worker.transfer.segments import Segment, SegmentMap

SMALLEST = 10


def segments(total: int | None, *written: tuple[int, int]) -> SegmentMap:
    return SegmentMap(total, written, min_size=SMALLEST)


def span(segment: Segment | None) -> tuple[int, int, int | None] | None:
    return None if segment is None else (segment.start, segment.position, segment.end)


def test_a_new_file_is_one_piece_without_end() -> None:
    new = segments(None)
    assert (new.is_untouched, new.is_complete, new.remaining, new.prefix) == (True, False, None, 0)
    assert span(new.claim_next()) == (0, 0, None)
    assert new.claim_next() is None
    new.set_total(50)
    assert new.remaining == 50


def test_an_empty_file_is_complete_once_that_is_known() -> None:
    new = segments(None)
    new.set_total(0)
    assert new.is_complete


def test_what_is_written_is_not_fetched_again() -> None:
    found = segments(100, (0, 20), (20, 30), (50, 60), (55, 70))
    assert found.written() == [(0, 30), (50, 70)]
    assert (found.downloaded, found.remaining, found.prefix) == (50, 50, 30)
    assert [span(found.claim_next()), span(found.claim_next())] == [(0, 30, 50), (50, 70, 100)]
    assert not found.has_unclaimed()


def test_a_gap_at_the_start_is_taken_first() -> None:
    found = segments(100, (40, 60))
    assert found.prefix == 0
    assert span(found.claim_next()) == (0, 0, 40)


def test_half_of_what_is_missing_goes_to_another() -> None:
    one = segments(100)
    first = one.claim_next()
    assert first is not None
    one.receive(first, 20)
    second = one.split(first)
    assert (span(first), span(second)) == ((0, 0, 60), (60, 60, 100))
    one.advance(first, 20)
    assert span(first) == (0, 20, 60)
    assert one.claim_next() is None, "both halves have an owner"


def test_several_parts_are_equal_and_the_second_is_owned() -> None:
    one = segments(100)
    first = one.claim_next()
    assert first is not None
    assert span(one.split(first, 4)) == (25, 25, 50)
    assert span(first) == (0, 0, 25)
    assert [span(one.claim_next()), span(one.claim_next()), one.claim_next()] == [
        (50, 50, 75),
        (75, 75, 100),
        None,
    ]


@pytest.mark.parametrize("left", [1, SMALLEST, 2 * SMALLEST - 1])
def test_what_is_too_small_is_not_cut(left: int) -> None:
    one = segments(left)
    segment = one.claim_next()
    assert segment is not None
    assert one.split(segment) is None
    assert span(segment) == (0, 0, left)


def test_what_has_no_end_is_not_cut() -> None:
    one = segments(None)
    segment = one.claim_next()
    assert segment is not None
    assert one.split(segment) is None


def test_who_reads_on_takes_over_untouched_pieces_only() -> None:
    one = segments(100)
    first = one.claim_next()
    assert first is not None
    one.split(first, 4)  # the second is owned
    one.extend(first)
    assert span(first) == (0, 0, 25)
    one.release(one._segments[1])
    one.extend(first)
    assert span(first) == (0, 0, 100)


class SegmentMapMachine(RuleBasedStateMachine):
    """Any order of what a transfer may do."""

    def __init__(self) -> None:
        super().__init__()
        self.total: int | None = None
        self.segments = segments(None)
        self.claimed: list[Segment] = []
        self.bytes: set[int] = set()
        #: Received bytes that the disk has not taken yet, in order.
        self.waiting: list[tuple[Segment, int]] = []
        self.received: set[int] = set()

    @precondition(lambda self: self.total is None)
    @rule(more=st.integers(0, 300))
    def learn_total(self, more: int) -> None:
        self.total = self.segments.received + more
        self.segments.set_total(self.total)

    @rule()
    def take(self) -> None:
        segment = self.segments.claim_next()
        if segment is not None:
            assert all(segment is not other for other in self.claimed)
            self.claimed.append(segment)

    @precondition(lambda self: self.claimed)
    @rule(data=st.data(), parts=st.integers(2, 5))
    def split(self, data: st.DataObject, parts: int) -> None:
        new = self.segments.split(data.draw(st.sampled_from(self.claimed)), parts)
        if new is not None:
            self.claimed.append(new)

    @precondition(lambda self: self.claimed)
    @rule(data=st.data(), size=st.integers(1, 60))
    def receive(self, data: st.DataObject, size: int) -> None:
        segment = data.draw(st.sampled_from(self.claimed))
        size = size if segment.remaining is None else min(size, segment.remaining)
        new = set(range(segment.received, segment.received + size))
        assert not new & self.received, "no byte is fetched twice"
        self.received |= new
        self.segments.receive(segment, size)
        self.waiting.append((segment, size))

    @precondition(lambda self: self.waiting)
    @rule()
    def write(self) -> None:
        segment, size = self.waiting.pop(0)
        self.bytes |= set(range(segment.position, segment.position + size))
        self.segments.advance(segment, size)

    @precondition(lambda self: self.claimed)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        segment = data.draw(st.sampled_from(self.claimed))
        self.claimed.remove(segment)
        self.segments.release(segment)

    @precondition(lambda self: self.claimed)
    @rule(data=st.data())
    def extend(self, data: st.DataObject) -> None:
        self.segments.extend(data.draw(st.sampled_from(self.claimed)))

    @precondition(lambda self: self.total is not None)
    @rule()
    def crash_and_resume(self) -> None:
        self.segments = segments(self.total, *self.segments.written())
        self.claimed, self.waiting, self.received = [], [], set(self.bytes)

    @invariant()
    def they_cover_the_file(self) -> None:
        all_pieces = self.segments._segments
        assert all_pieces[0].start == 0
        assert all(one.end == other.start for one, other in pairwise(all_pieces))
        assert all_pieces[-1].end == self.total
        assert all(one.start <= one.position <= one.received for one in all_pieces)
        assert all(one.end is None or one.received <= one.end for one in all_pieces)

    @invariant()
    def they_know_what_is_there(self) -> None:
        written = self.segments.written()
        assert {at for start, end in written for at in range(start, end)} == self.bytes
        assert all(one[1] < other[0] for one, other in pairwise(written)), "joined, and in order"
        assert self.segments.downloaded == len(self.bytes)
        gap = next(at for at in range(len(self.bytes) + 1) if at not in self.bytes)
        assert self.segments.prefix == gap
        assert self.segments.is_complete == (self.total == len(self.bytes))
        assert self.segments.received == len(self.received)
        assert self.segments.is_received == (self.total == len(self.received))


SegmentMapMachine.TestCase.settings = settings(
    max_examples=200, stateful_step_count=40, deadline=None
)
test_whatever_is_done_the_pieces_are_right = SegmentMapMachine.TestCase
