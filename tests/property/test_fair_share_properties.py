"""Sharing a rate: what processes reckon for themselves adds up to the limit, and ends max-min fair."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from hypothesis import given
from hypothesis import strategies as st

from cache import Demand
from worker.fair_share import HUNGRY_FROM, level, share


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


@given(available=limits, demand=demands())
def test_a_level_uses_what_there_is_and_is_never_less_than_an_equal_part(
    available: int, demand: Demand
) -> None:
    found = level(available, demand)
    equal = available / max(1, demand.transfers)
    assert found >= equal
    if found > equal:
        assert found * max(1, demand.hungry) + demand.satisfied <= available * (1 + 1e-9)


def water_level(limit: float, wants: Sequence[float]) -> float:
    """The textbook's way: fill the smallest first, and divide what is left among the others."""
    left, rest = limit, sorted(wants)
    while rest and rest[0] <= left / len(rest):
        left -= rest.pop(0)
    return left / len(rest) if rest else limit


@given(
    limit=st.integers(10_000, 10**8),
    processes=st.lists(
        st.lists(st.floats(1, 10**8), min_size=1, max_size=6), min_size=1, max_size=5
    ),
)
def test_transfers_in_many_processes_end_as_if_one_had_divided_it(
    limit: int, processes: list[list[float]]
) -> None:
    """Each transfer is as fast as it can be, or as it may; each process knows its own and the sums."""
    rates = [[limit / sum(map(len, processes))] * len(some) for some in processes]
    # With each round at least one more is known to be satisfied, until all are that are.
    for _ in range(sum(map(len, processes)) + 3):
        own = [demand(*pair) for pair in zip(processes, rates, strict=True)]
        everybody = reduce(Demand.plus, own)
        rates = [
            [level(share(limit, one, everybody), one)] * len(some)
            for one, some in zip(own, processes, strict=True)
        ]
    wants = [want for some in processes for want in some]
    fair = water_level(limit, wants)
    used = sum(
        min(want, rate)
        for some, its_rates in zip(processes, rates, strict=True)
        for want, rate in zip(some, its_rates, strict=True)
    )
    assert used <= limit * 1.001
    # Those that want just less than the level count as hungry, so a tenth may be left.
    assert used >= HUNGRY_FROM * min(limit, sum(wants)) - 100
    for some, its_rates in zip(processes, rates, strict=True):
        for want, rate in zip(some, its_rates, strict=True):
            assert min(want, rate) >= HUNGRY_FROM * min(want, fair) - 100


def demand(wants: Sequence[float], rates: Sequence[float]) -> Demand:
    pairs = list(zip(wants, rates, strict=True))
    satisfied = [want for want, rate in pairs if want < HUNGRY_FROM * rate]
    used = sum(min(pair) for pair in pairs)
    return Demand(len(pairs), len(pairs) - len(satisfied), round(sum(satisfied)), round(used))
