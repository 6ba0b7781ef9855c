"""Sharing a rate: what processes reckon for themselves adds up to the limit, and ends max-min fair."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from operator import add
from statistics import mean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache import Demand
from domain.limits import TOTAL, host_scope, job_scope
from worker.limits.max_min_fairness import CONSTRAINED_FROM, fair_level, share, water_level
from worker.limits.transfer_rate import WINDOW, Share, TransferRate, assign_rates, demands_of

#: Seconds between two looks.
TICK = 0.25
#: Bytes a second that rounding to whole bytes may cost.
SMALL = 8
#: What of a limit, or of what it wants, a transfer should have.
ENOUGH = 0.85


def together(one: Demand, other: Demand) -> Demand:
    """The demand of both."""
    return Demand(*map(add, one, other))


@st.composite
def demands(draw: st.DrawFn) -> Demand:
    transfers = draw(st.integers(0, 50))
    constrained = draw(st.integers(0, transfers))
    unconstrained = draw(st.integers(0, 10**9)) if constrained < transfers else 0
    return Demand(transfers, constrained, unconstrained, unconstrained)


limits = st.integers(1024, 10**9)


@given(limit=limits, processes=st.lists(demands(), min_size=1, max_size=8))
def test_shares_add_up_to_the_limit(limit: int, processes: list[Demand]) -> None:
    everybody = reduce(together, processes)
    shares = [share(limit, own, everybody) for own in processes]
    assert all(one >= 0 for one in shares)
    if everybody.transfers:
        assert abs(sum(shares) - limit) <= limit * 1e-9


@given(
    available=limits,
    uses=st.lists(st.floats(0, 10**9), max_size=20),
    constrained=st.integers(0, 20),
)
def test_shares_use_the_whole_limit_and_exceed_no_demand(
    available: int, uses: list[float], constrained: int
) -> None:
    level = water_level(available, uses, constrained)
    filled = sum(min(use, level) for use in uses) + constrained * level
    wanted = math.inf if constrained else sum(uses)
    assert filled == pytest.approx(min(available, wanted))


class Process:
    """A process's transfers, each as fast as it can be, or as it may."""

    def __init__(self, name: int, wants: Sequence[tuple[str, float]]) -> None:
        self.transfers = [
            (TransferRate(f"{name}-{number}", host), want)
            for number, (host, want) in enumerate(wants)
        ]
        self.paces = [pace for pace, _ in self.transfers]

    def run(self, now: float) -> dict[TransferRate, float]:
        """Let them run until `now`, and return how fast they were."""
        speeds = {pace: min(want, pace.rate or want) for pace, want in self.transfers}
        for pace, speed in speeds.items():
            pace.count(round(speed * TICK))
            pace.measure(now)
        return speeds


def run_all(
    processes: Sequence[Process], limits: Mapping[str, int], steps: int
) -> Iterator[dict[TransferRate, float]]:
    """Let processes run, tell, hear and divide as pacers do; yields all speeds of each step."""
    for one in processes:
        assign_rates(one.paces, limits, {})
    for step in range(steps):
        speeds: dict[TransferRate, float] = {}
        for one in processes:
            speeds |= one.run(step * TICK)
        yield speeds
        own = [demands_of(one.paces, limits) for one in processes]
        everybody = {
            scope: reduce(together, (some.get(scope, Demand()) for some in own)) for scope in limits
        }
        for one, demands in zip(processes, own, strict=True):
            shares = {
                scope: Share(
                    share(limits[scope], demand, everybody[scope]),
                    fair_level(limits[scope], everybody[scope]),
                )
                for scope, demand in demands.items()
            }
            assign_rates(one.paces, limits, shares)


@settings(max_examples=40, deadline=None)
@given(
    limit=st.integers(10_000, 10**8),
    wants=st.lists(st.lists(st.floats(4, 10**8), min_size=1, max_size=6), min_size=1, max_size=5),
)
def test_transfers_in_many_processes_end_with_fair_parts_of_the_whole_rate(
    limit: int, wants: list[list[float]]
) -> None:
    processes = [
        Process(name, [("example.org", want) for want in some]) for name, some in enumerate(wants)
    ]
    # With each window at least one more is known to be unconstrained, until all are that are.
    steps = (WINDOW + 1) * (sum(map(len, wants)) + 2)
    *_, last = run_all(processes, {TOTAL: limit}, steps)
    used = sum(last.values())
    assert used <= limit * 1.001
    # Those that want just less than the level count as constrained, so a tenth may be left.
    assert used >= CONSTRAINED_FROM * min(limit, sum(map(sum, wants))) - SMALL
    for process in processes:
        for pace, want in process.transfers:
            # Whoever has less than it wants has as much as anybody.
            assert last[pace] >= CONSTRAINED_FROM * min(want, max(last.values())) - SMALL


HOSTS = ["one.org", "two.org", "three.org"]
rates = st.integers(30_000, 10**7)


@settings(max_examples=40, deadline=None)
@given(
    wants=st.lists(
        st.lists(st.tuples(st.sampled_from(HOSTS), st.floats(1000, 10**7)), min_size=1, max_size=6),
        min_size=1,
        max_size=4,
    ),
    limits=st.dictionaries(
        st.sampled_from([TOTAL, *map(host_scope, HOSTS), job_scope("0-0"), job_scope("1-1")]),
        rates,
        min_size=1,
    ),
)
def test_no_limit_is_exceeded_and_no_call_waits_below_it(
    wants: list[list[tuple[str, float]]], limits: dict[str, int]
) -> None:
    processes = [Process(name, some) for name, some in enumerate(wants)]
    settled = list(run_all(processes, limits, 200))[100:]
    used: dict[str, list[float]] = {scope: [] for scope in limits}
    for speeds in settled:
        for scope in limits:
            used[scope].append(sum(s for pace, s in speeds.items() if scope in scopes_of(pace)))
    assert all(max(used[scope]) <= limits[scope] * 1.05 for scope in limits)
    full = {scope for scope in limits if mean(used[scope]) >= ENOUGH * limits[scope]}
    for process in processes:
        for pace, want in process.transfers:
            has = mean(speeds[pace] for speeds in settled)
            assert has >= ENOUGH * want or full & scopes_of(pace)


def scopes_of(pace: TransferRate) -> set[str]:
    """Everything that may limit a transfer."""
    return {*pace.scopes, job_scope(pace.job_id)}
