"""Slots against a plain model: never over the limit, never negative, every number the model's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cache import CacheManager
from tests.support.build import cache_manager
from tests.support.stores.server import StoreServer

HOST = "connections:example.org"


@pytest.fixture
def manager(store: StoreServer) -> Iterator[CacheManager]:
    with cache_manager(store) as manager:
        yield manager


members = st.sampled_from("abcd")
steps = st.one_of(
    st.tuples(st.just("take"), members, st.integers(0, 7)),
    st.tuples(st.just("renew"), members, st.just(0)),
    st.tuples(st.just("release"), members, st.just(0)),
    st.tuples(st.just("expire"), members, st.just(0)),
)


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(limit=st.integers(1, 6), work=st.lists(steps, max_size=25))
def test_slots_are_those_of_a_plain_model(
    manager: CacheManager, limit: int, work: list[tuple[str, str, int]]
) -> None:
    key, limits = manager.keys.slots_key(HOST), manager.limits
    manager.client.delete(key)
    held: dict[str, int] = {}
    for what, member, want in work:
        if what == "take":
            others = sum(held.values()) - held.get(member, 0)
            held[member] = min(want, limit - others)
            slots = limits.take_slots(HOST, member, want, limit, 60)
            assert slots == (held[member], sum(held.values()))
        elif what == "renew":
            assert limits.renew_slots([(HOST, member)], 60) == [held.get(member, 0)]
        elif what == "release":
            limits.release_slots([(HOST, member)])
            held[member] = 0
        elif held.get(member):
            # Its end is a moment in the store: one that has passed is one that has come.
            manager.client.hset(key, member, f"{held[member]} {server_ms(manager) - 1}")
            held[member] = 0
        held = {one: count for one, count in held.items() if count}
        assert limits.slots(HOST) == held
        assert sum(held.values()) <= limit
        assert all(count > 0 for count in held.values())


def server_ms(manager: CacheManager) -> int:
    seconds, micro = manager.client.time()
    return int(seconds) * 1000 + int(micro) // 1000
