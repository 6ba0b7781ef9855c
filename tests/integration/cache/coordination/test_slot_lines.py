"""The line for the slots of a resource: whose turn it is, who is passed over, and what lapses."""

from __future__ import annotations

import re
from typing import Any

import pytest

from cache import CacheManager, SlotRequest
from cache.coordination import transfer_limits
from cache.coordination.limit_models import SlotDecision
from cache.coordination.transfer_limits import TransferLimits
from cache.store.flow import Flow
from tests.support.wait import wait_until

HOST, USER = "connections:example.org", "user:ann"


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing lapses while a test runs."""
    monkeypatch.setattr(transfer_limits, "_PLACE", 600.0)
    monkeypatch.setattr(transfer_limits, "_PATIENCE", 600.0)


def ask(
    manager: CacheManager, member: str, rank: int | None = 1, *, limit: int = 1, user: int = 0
) -> SlotDecision:
    requests = [SlotRequest(HOST, 1, limit)]
    requests += [SlotRequest(USER, 1, user)] if user else []
    return manager.limits.acquire_slots("example.org", member, requests, 600, rank=rank)


def release(manager: CacheManager, *members: str) -> None:
    manager.limits.release_slots([(HOST, member) for member in members])


def places(manager: CacheManager, resource: str = HOST) -> list[str]:
    """The members that have a place, in any order."""
    client: Any = manager.client
    entries = client.hgetall(manager.keys.slots_key(resource))
    return sorted(name.decode() for name, value in entries.items() if value.startswith(b"wait"))


def test_slots_are_given_by_rank_and_then_by_name(manager: CacheManager) -> None:
    assert ask(manager, "first").granted
    order = [("b", 1), ("d", 0), ("a", 2), ("c", 1), ("e", 0)]
    for member, rank in order:
        refused = ask(manager, member, rank)
        assert (refused.granted, refused.has_place) == (False, True)
    holder, got = "first", []
    for _ in order:
        release(manager, holder)
        granted = [member for member, rank in order if ask(manager, member, rank).granted]
        (holder,) = granted
        order = [one for one in order if one[0] != holder]
        got.append(holder)
        for member, rank in order:
            assert not ask(manager, member, rank).granted
    assert got == ["d", "e", "b", "c", "a"]
    release(manager, holder)
    assert not manager.client.dbsize()


def test_who_comes_new_is_behind_those_that_wait(manager: CacheManager) -> None:
    ask(manager, "first")
    ask(manager, "waits")
    release(manager, "first")
    refused = ask(manager, "zzz")
    assert refused.full == (SlotRequest(HOST, 1, 1), 0), "no slot is in use"
    assert not ask(manager, "zzz", limit=1).granted
    assert ask(manager, "zzz", limit=2).granted, "the second slot is for the second one"
    assert ask(manager, "waits", limit=2).granted


def test_a_running_member_gets_no_slot_that_others_wait_for(manager: CacheManager) -> None:
    assert ask(manager, "a", limit=3).granted
    assert ask(manager, "b", limit=3).granted
    assert ask(manager, "c", limit=3).granted
    assert not ask(manager, "d", limit=3).granted
    release(manager, "b")
    take = manager.limits.take_slots
    assert take(HOST, "a", 2, 3, 600) == (1, 2), "the free one is for d"
    assert ask(manager, "d", limit=3).granted
    release(manager, "c")
    assert take(HOST, "a", 2, 3, 600) == (2, 3)
    assert take(HOST, "lost", 1, 9, 600).granted == 1, "in use, and lost by the store"


def test_a_member_without_a_rank_has_no_place(manager: CacheManager) -> None:
    ask(manager, "first")
    assert not ask(manager, "second", None).has_place
    assert places(manager) == []


def test_a_member_waits_in_one_line_at_a_time(manager: CacheManager) -> None:
    assert ask(manager, "first", user=1).granted
    assert not ask(manager, "second", user=1).granted
    assert (places(manager), places(manager, USER)) == (["second"], [])
    release(manager, "first")
    assert not ask(manager, "second", user=1).granted, "its user has another download"
    assert (places(manager), places(manager, USER)) == ([], ["second"])
    assert ask(manager, "third").granted, "the host's slot is for others"


def test_a_cooldown_ends_the_waiting(manager: CacheManager) -> None:
    ask(manager, "first")
    ask(manager, "second")
    manager.limits.start_cooldown("example.org", 60, "HTTP 429")
    refused = ask(manager, "second")
    assert refused.cooldown is not None
    assert not refused.has_place
    assert places(manager) == []


def test_who_waits_elsewhere_is_called_once_for_a_free_slot(manager: CacheManager) -> None:
    ask(manager, "first", limit=2)
    ask(manager, "second", limit=2)
    for member in ("a", "b", "c"):
        ask(manager, member, limit=2)
        assert manager.limits.keep_place(HOST, member, 600) is True
    assert ask(manager, "z", limit=2).called == 0, "no slot is free"
    release(manager, "first", "second")
    assert [ask(manager, "z", limit=2).called for _ in range(2)] == [2, 0]
    assert ask(manager, "b", limit=2).granted
    assert ask(manager, "z", limit=2).called == 0, "the other slot is kept for a"
    assert ask(manager, "a", limit=2).granted


def test_who_does_not_come_is_passed_over_and_keeps_its_place(
    manager: CacheManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(manager, "first")
    ask(manager, "away")
    ask(manager, "next")
    manager.limits.keep_place(HOST, "away", 600)
    release(manager, "first")
    assert not ask(manager, "next").granted
    monkeypatch.setattr(transfer_limits, "_PATIENCE", 0.01)
    wait_until(lambda: ask(manager, "next").granted, what="its turn")
    assert places(manager) == ["away"]
    assert not ask(manager, "away").granted
    release(manager, "next")
    monkeypatch.setattr(transfer_limits, "_PATIENCE", 600.0)
    assert not ask(manager, "next").granted, "who has come again is first again"
    assert ask(manager, "away").granted


def test_a_place_lapses_when_its_process_is_gone(
    manager: CacheManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(manager, "first")
    monkeypatch.setattr(transfer_limits, "_PLACE", 0.05)
    ask(manager, "gone")
    monkeypatch.setattr(transfer_limits, "_PLACE", 600.0)
    release(manager, "first")
    wait_until(lambda: ask(manager, "next").granted, what="its turn")
    assert places(manager) == []
    assert manager.limits.keep_place(HOST, "gone", 600) is False
    assert manager.limits.keep_place(HOST, "next", 600) is False, "it has a slot"
    assert manager.limits.slots(HOST) == {"next": 1}


def test_a_line_is_bounded_and_keeps_the_first(
    manager: CacheManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer_limits, "MAX_PLACES", 3)
    ask(manager, "holder")
    for member in ("d", "b", "c"):
        assert ask(manager, member).has_place
    assert not ask(manager, "e").has_place
    assert places(manager) == ["b", "c", "d"]
    assert ask(manager, "a").has_place
    assert places(manager) == ["a", "b", "c"]


def test_the_answer_says_when_a_slot_was_taken(manager: CacheManager) -> None:
    ask(manager, "first")
    assert ask(manager, "second").unchanged < 60
    key = manager.keys.slots_key(HOST)
    seconds, _ = manager.client.time()
    manager.client.hset(key, "first", f"1 {(int(seconds) + 600 - 90) * 1000}")
    assert 85 < ask(manager, "second").unchanged < 150


@pytest.mark.parametrize(("requests", "rounds"), [([], 1), ([SlotRequest(HOST, 1, 9)], 1)])
def test_the_line_costs_no_further_round_trip(
    manager: CacheManager, requests: list[SlotRequest], rounds: int
) -> None:
    """Given a job without limits, and one for which a slot is free."""
    ask(manager, "first", limit=9)  # the store has the script
    limits, seen = manager.limits, list[object]()

    def counted() -> Flow[SlotDecision]:
        flow = TransferLimits.acquire_slots.flow(limits, "example.org", "a", requests, 600, rank=1)
        step = next(flow)
        while True:
            seen.append(step)
            try:
                step = flow.send((yield step))
            except StopIteration as end:
                decision: SlotDecision = end.value
                return decision

    assert manager.store.run(counted()).granted
    assert len(seen) == rounds


@pytest.mark.parametrize(
    "entry", ["wait", "wait 1", "wait x 1 here 0", "wait 1 99 nowhere", "wait 1 -1 away 0", "1", ""]
)
def test_an_entry_that_cannot_be_read_is_removed(manager: CacheManager, entry: str) -> None:
    key = manager.keys.slots_key(HOST)
    manager.client.hset(key, "foreign", entry)
    assert ask(manager, "a").granted
    assert manager.client.hkeys(key) == [b"a"]


def test_members_of_a_line_are_no_holders(manager: CacheManager) -> None:
    ask(manager, "first")
    ask(manager, "second")
    assert manager.limits.slots(HOST) == {"first": 1}
    assert manager.limits.renew_slots([(HOST, "first"), (HOST, "second")], 600) == [1, 0]
    client: Any = manager.client
    value = client.hget(manager.keys.slots_key(HOST), "first")
    assert re.fullmatch(rb"1 \d+", value), "as the release before reads it"
