"""Sharing a rate: what processes reckon for themselves adds up to the limit, and ends max-min fair."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache import Demand
from domain.limits import TOTAL
from worker.fair_share import HUNGRY_FROM, fair_level, share, water_level
from worker.pace import WINDOW, Pace, Share, demands_of, spread

#: Seconds between two looks.
TICK = 0.25
#: Bytes a second that rounding to whole bytes may cost.
SMALL = 8


@st.composite
def demands(draw: st.DrawFn) -> Demand:
    transfers = draw(st.integers(0, 50))
    hungry = draw(st.integers(0, transfers))
    satisfied = draw(st.integers(0, 10**9)) if hungry < transfers else 0
    return Demand(transfers, hungry, satisfied, satisfied)


limits = st.integers(1024, 10**9)


@given(limit=limits, processes=st.lists(demands(), min_size=1, max_size=8))
def test_shares_add_up_to_the_limit(limit: int, processes: list[Demand]) -> None:
    everybody = reduce(Demand.plus, processes)
    shares = [share(limit, own, everybody) for own in processes]
    assert all(one >= 0 for one in shares)
    if everybody.transfers:
        assert abs(sum(shares) - limit) <= limit * 1e-9


@given(
    available=limits,
    uses=st.lists(st.floats(0, 10**9), max_size=20),
    hungry=st.integers(0, 20),
)
def test_water_fills_what_there_is_and_nobody_gets_more_than_it_wants(
    available: int, uses: list[float], hungry: int
) -> None:
    level = water_level(available, uses, hungry)
    filled = sum(min(use, level) for use in uses) + hungry * level
    wanted = math.inf if hungry else sum(uses)
    assert filled == pytest.approx(min(available, wanted))


class Process:
    """A process's transfers, each as fast as it can be, or as it may."""

    def __init__(self, name: int, wants: Sequence[float]) -> None:
        self.transfers = [
            (Pace(f"{name}-{n}", "example.org"), want) for n, want in enumerate(wants)
        ]
        self.paces = [pace for pace, _ in self.transfers]
        spread(self.paces, {TOTAL: 2**50}, {})

    def run(self, now: float) -> None:
        """Let them run for a quarter of a second."""
        for pace, want in self.transfers:
            pace.count(round(min(want, pace.rate or 0) * TICK))
            pace.measure(now)

    def used(self) -> float:
        """Bytes a second that they take now."""
        return sum(min(want, pace.rate or 0) for pace, want in self.transfers)


@settings(max_examples=40, deadline=None)
@given(
    limit=st.integers(10_000, 10**8),
    processes=st.lists(
        st.lists(st.floats(4, 10**8), min_size=1, max_size=6), min_size=1, max_size=5
    ),
)
def test_transfers_in_many_processes_end_as_if_one_had_divided_the_rate(
    limit: int, processes: list[list[float]]
) -> None:
    running = [Process(name, wants) for name, wants in enumerate(processes)]
    wants = [want for some in processes for want in some]
    limits = {TOTAL: limit}
    # With each window at least one more is known to be satisfied, until all are that are.
    for step in range((WINDOW + 1) * (len(wants) + 2)):
        for one in running:
            one.run(step * TICK)
        own = [demands_of(one.paces, limits)[TOTAL] for one in running]
        everybody = reduce(Demand.plus, own)
        level = fair_level(limit, everybody)
        for one, demand in zip(running, own, strict=True):
            spread(one.paces, limits, {TOTAL: Share(share(limit, demand, everybody), level)})
    assert sum(one.used() for one in running) <= limit * 1.001
    # Those that want just less than the level count as hungry, so a tenth may be left.
    fair = water_level(limit, wants, 0)
    for one in running:
        for pace, want in one.transfers:
            assert min(want, pace.rate or 0) >= HUNGRY_FROM * min(want, fair) - SMALL
