"""Slots, cool-downs, rates: what is granted, what expires, and what a silent store never grants."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cache import CacheManager, Cooldown, Demand, SlotRequest
from domain.errors import InvalidInputError, StoreUnavailableError
from tests.support.build import Connect, cache_manager
from tests.support.servers.tcp_proxy import Proxy
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until

HOST = "connections:example.org"


def granted(manager: CacheManager, member: str, want: int, limit: int, ttl: float = 60) -> int:
    return manager.limits.take_slots(HOST, member, want, limit, ttl).granted


# ── slots ───────────────────────────────────────────────────────────────────────────────────────


def test_members_share_the_slots_there_are(manager: CacheManager) -> None:
    assert granted(manager, "a", 3, 5) == 3
    assert manager.limits.take_slots(HOST, "b", 4, 5, 60) == (2, 5)
    assert granted(manager, "c", 1, 5) == 0
    assert manager.limits.slots(HOST) == {"a": 3, "b": 2}
    assert granted(manager, "a", 1, 5) == 1
    assert granted(manager, "b", 4, 5) == 4
    assert granted(manager, "a", 1, 5) == 1  # asking again adds nothing
    manager.limits.release_slots([(HOST, "a"), (HOST, "unknown"), ("connections:other", "a")])
    assert granted(manager, "c", 9, 5) == 1
    assert granted(manager, "b", 0, 5) == 0
    assert manager.limits.slots(HOST) == {"c": 1}


def test_a_lowered_limit_takes_back_all_but_the_slot_that_is_in_use(manager: CacheManager) -> None:
    assert granted(manager, "a", 4, 8) == 4
    assert granted(manager, "b", 4, 8) == 4
    assert granted(manager, "a", 4, 2) == 1
    assert granted(manager, "b", 4, 2) == 1
    assert granted(manager, "c", 1, 2) == 0


def test_slots_end_with_their_life_and_leave_no_key(manager: CacheManager) -> None:
    granted(manager, "gone", 4, 4, ttl=0.05)
    granted(manager, "kept", 1, 5, ttl=60)
    wait_until(lambda: granted(manager, "new", 4, 5) == 4, what="the end of the first one's life")
    assert manager.limits.slots(HOST) == {"kept": 1, "new": 4}
    assert manager.client.hlen(manager.keys.slots_key(HOST)) == 2
    manager.limits.take_slots("user:ann", "job", 1, 1, 0.05)
    wait_until(lambda: not manager.client.exists(manager.keys.slots_key("user:ann")))


def test_renewing_keeps_what_is_there_and_brings_nothing_back(manager: CacheManager) -> None:
    granted(manager, "a", 2, 4, ttl=1)
    granted(manager, "ended", 1, 4, ttl=0.02)
    wait_until(lambda: "ended" not in manager.limits.slots(HOST))
    holdings = [(HOST, "a"), (HOST, "ended"), (HOST, "never"), ("user:ann", "a")]
    assert manager.limits.renew_slots(holdings, 60) == [2, 0, 0, 0]
    assert manager.client.pttl(manager.keys.slots_key(HOST)) > 50_000
    assert manager.limits.slots(HOST) == {"a": 2}
    assert not manager.client.exists(manager.keys.slots_key("user:ann"))
    assert manager.limits.renew_slots([]) == []


@pytest.mark.parametrize(
    ("want", "limit", "ttl", "field"), [(-1, 1, 1, "want"), (1, 0, 1, "limit"), (1, 1, 0, "ttl")]
)
def test_an_impossible_request_is_refused(
    manager: CacheManager, want: int, limit: int, ttl: float, field: str
) -> None:
    with pytest.raises(InvalidInputError, match=f"^{field}"):
        granted(manager, "a", want, limit, ttl)
    assert not manager.client.dbsize()


# ── cool-downs and admission ────────────────────────────────────────────────────────────────────


def test_a_longer_cool_down_stays(manager: CacheManager) -> None:
    assert manager.limits.cooldown("example.org") is None
    assert manager.limits.start_cooldown("example.org", 60, "HTTP 429")
    assert not manager.limits.start_cooldown("example.org", 5, "HTTP 503")
    found = manager.limits.cooldown("example.org")
    assert found is not None
    assert 50 < found.seconds <= 60
    assert found.reason == "HTTP 429"
    assert manager.limits.start_cooldown("example.org", 600, "HTTP 503")
    assert manager.limits.end_cooldown("example.org")
    assert manager.limits.cooldown("example.org") is None
    assert manager.limits.start_cooldown("example.org", 0.03, "short")
    wait_until(lambda: manager.limits.cooldown("example.org") is None)


def test_admission_is_all_or_nothing(manager: CacheManager) -> None:
    requests = [SlotRequest(HOST, 1, 5), SlotRequest("user:ann", 1, 1)]
    assert manager.limits.acquire_slots("example.org", "a", requests).granted
    refused = manager.limits.acquire_slots("example.org", "b", requests)
    assert not refused.granted
    assert refused.full == (requests[1], 1)
    assert manager.limits.slots(HOST) == {"a": 1}
    manager.limits.start_cooldown("example.org", 60, "HTTP 429")
    cooling = manager.limits.acquire_slots("example.org", "c", requests[:1]).cooldown
    assert isinstance(cooling, Cooldown)
    assert cooling.reason == "HTTP 429"
    assert manager.limits.slots(HOST) == {"a": 1}
    assert manager.limits.acquire_slots("elsewhere.org", "c", []).granted


def test_an_admission_is_one_round_trip(store: StoreServer) -> None:
    requests = [SlotRequest(HOST, 1, 5), SlotRequest("user:ann", 1, 9)]
    with Proxy(store.port) as proxy, cache_manager(store, cache_addr=proxy.addr) as manager:
        manager.limits.acquire_slots(
            "example.org", "a", requests
        )  # the script is known from here on
        before = proxy.round_trips
        assert manager.limits.acquire_slots("example.org", "b", requests).granted
        # One, but that the reply to its beginning may overtake its end.
        assert proxy.round_trips - before <= 2


# ── rates ───────────────────────────────────────────────────────────────────────────────────────


def test_rates_are_set_and_taken_away_together(manager: CacheManager) -> None:
    manager.limits.set_rates({"total": 10_000, "host:example.org": 5000, "job:7": 2**40})
    manager.limits.set_rates({"job:7": None})
    assert manager.limits.rates() == {"total": 10_000, "host:example.org": 5000}
    for wrong in ({"total": 1}, {"total": -5000}, {"planet": 5000}, {"host:": 5000}):
        with pytest.raises(InvalidInputError):
            manager.limits.set_rates({"host:example.org": None, **wrong})
    assert manager.limits.rates() == {"total": 10_000, "host:example.org": 5000}


def test_a_value_written_by_hand_is_no_limit(manager: CacheManager) -> None:
    manager.limits.set_rates({"total": 10_000})
    manager.client.hset(manager.keys.limits_key(), "host:example.org", "10M")
    assert manager.limits.rates() == {"total": 10_000}


def test_demands_of_living_processes_add_up(manager: CacheManager) -> None:
    share = manager.limits.share_demands
    large = 2**50
    assert share("a", {"total": Demand(3, 2, large, large + 7)}) == {
        "total": Demand(3, 2, large, large + 7)
    }
    both = share("b", {"total": Demand(1, 0, 5, 5), "host:example.org": Demand(1, 1, 0, 9)})
    assert both == {"total": Demand(4, 2, large + 5, large + 12), "host:example.org": (1, 1, 0, 9)}
    assert share("b", {"total": Demand()}) == {"total": Demand(3, 2, large, large + 7)}
    assert manager.limits.demands(["total", "host:none"]) == {
        "total": Demand(3, 2, large, large + 7),
        "host:none": Demand(),
    }
    share("a", {"total": Demand(1, 1, 0, 0)}, 0.03)
    wait_until(lambda: manager.limits.demands(["total"])["total"] == Demand())
    assert not manager.client.exists(manager.keys.demand_key("total"))


# ── without a store ─────────────────────────────────────────────────────────────────────────────

USES: dict[str, Callable[[CacheManager], object]] = {
    "take": lambda m: m.limits.take_slots(HOST, "a", 1, 1),
    "renew": lambda m: m.limits.renew_slots([(HOST, "a")]),
    "release": lambda m: m.limits.release_slots([(HOST, "a")]),
    "start_cooldown": lambda m: m.limits.start_cooldown("example.org", 1, "x"),
    "cooldown": lambda m: m.limits.cooldown("example.org"),
    "acquire_slots": lambda m: m.limits.acquire_slots("example.org", "a", []),
    "rates": lambda m: m.limits.rates(),
    "share": lambda m: m.limits.share_demands("w", {"total": Demand(1, 1, 0, 0)}),
}


def test_without_an_answer_nothing_is_granted(private_store: StoreServer, connect: Connect) -> None:
    manager = connect(private_store)
    manager.ping()
    private_store.kill()
    for use in USES.values():
        with pytest.raises(StoreUnavailableError):
            use(manager)


def test_scripts_are_loaded_again_after_a_flush(manager: CacheManager) -> None:
    for use in USES.values():
        manager.client.script_flush()
        use(manager)
    assert manager.limits.slots(HOST) == {}
