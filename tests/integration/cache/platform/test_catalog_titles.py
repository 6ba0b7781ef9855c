"""Invalidation by title: everything in which it appears, nothing else, and nothing old behind it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable

import pytest

from cache import CacheManager, CatalogEntry
from cache.platform.codec import MAX_VALUE_BYTES
from domain.errors import InvalidInputError
from tests.support.build import Connect
from tests.support.servers.tcp_proxy import Proxy
from tests.support.stores.commands import commands, commands_since
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until

INDEX = "seen:catalog:title:t-1"
Titles = list[str]


def titles(value: Titles) -> Titles:
    """The titles that a value of these tests names: all of it."""
    return value


def dashboard(manager: CacheManager, user: str = "ada") -> CatalogEntry[Titles]:
    return manager.catalog.dashboard(user, Titles)


def listed(manager: CacheManager, index: str = INDEX) -> dict[bytes, float]:
    """The entries that the index of a title has, and their ends; the mark has a negative one."""
    return {member: score for member, score in manager.client.zscan_iter(index) if score > 0}


def now_ms(manager: CacheManager) -> int:
    seconds, micro = manager.client.time()
    return seconds * 1000 + micro // 1000


# ── what is forgotten ───────────────────────────────────────────────────────────────────────────


def test_a_title_is_forgotten_everywhere_it_appears_and_nothing_else(manager: CacheManager) -> None:
    catalog = manager.catalog
    with_it = [
        dashboard(manager),
        catalog.discover("", "", 1, Titles),
        catalog.search("x", "", "", Titles),
        catalog.recommendations("bob", Titles),
    ]
    for entry in with_it[:2]:
        entry.set(["t-1", "t-2"], titles=["t-1", "t-2", "t-1"])
    for entry in with_it[2:]:
        entry.get_or_load(lambda: ["t-1"], titles=titles)
    without = dashboard(manager, "bob")
    without.set(["t-2"], titles=["t-2"])
    unlisted = dashboard(manager, "eve")
    unlisted.set(["t-1"])
    before = commands(manager.client)
    assert catalog.invalidate_title("t-1") == 4
    run = commands_since(manager.client, before)
    assert not {"scan", "keys", "sscan", "zscan"} & set(run)
    assert [entry.get() for entry in with_it] == [None] * 4
    assert (without.get(), unlisted.get()) == (["t-2"], ["t-1"])
    assert catalog.invalidate_title("t-1") == 0
    assert catalog.invalidate_title("t-2") == 1
    assert catalog.invalidate_title("nowhere") == 0


def test_an_entry_set_after_the_invalidation_stays(manager: CacheManager) -> None:
    entry = dashboard(manager)
    manager.catalog.invalidate_title("t-1")
    assert entry.set(["t-1"], titles=["t-1"])
    assert entry.get() == ["t-1"]
    assert manager.catalog.invalidate_title("t-1") == 1


def test_very_many_entries_of_one_title_are_forgotten(manager: CacheManager) -> None:
    names = [f"seen:catalog:dashboard:u{number}" for number in range(1100)]
    manager.client.mset(dict.fromkeys(names, "[]"))
    manager.client.zadd(INDEX, dict.fromkeys(names, 2**50))
    assert manager.catalog.invalidate_title("t-1") == 1100


# ── the index ───────────────────────────────────────────────────────────────────────────────────


def test_the_index_lists_an_entry_for_longer_than_it_lives(manager: CacheManager) -> None:
    entry = dashboard(manager)
    uses: list[Callable[[], object]] = [
        lambda: entry.set(["t-1"], titles=["t-1"]),
        lambda: entry.get_or_load(lambda: ["t-1"], titles=titles, stale_for=1000),
    ]
    for use in uses:
        manager.client.flushdb()
        use()
        (end,) = listed(manager).values()
        # It was stored a moment later than it was listed.
        assert end > now_ms(manager) + manager.client.pttl(entry.key) + 1000
        assert manager.client.pttl(INDEX) > manager.client.pttl(entry.key)


def test_the_index_sheds_what_has_expired_by_itself(manager: CacheManager) -> None:
    manager.client.zadd(INDEX, {"seen:catalog:gone": now_ms(manager) - 1, "seen:there": 2**50})
    dashboard(manager).set(["t-1"], titles=["t-1"])
    assert set(listed(manager)) == {b"seen:there", b"seen:catalog:dashboard:ada"}


def test_what_has_expired_is_not_counted(manager: CacheManager) -> None:
    manager.client.set("seen:expired", 1)
    manager.client.zadd(INDEX, {"seen:expired": now_ms(manager) - 1})
    assert manager.catalog.invalidate_title("t-1") == 0
    assert manager.client.exists("seen:expired")


def test_an_invalidation_is_remembered_for_ten_minutes_and_no_longer_than_needed(
    manager: CacheManager,
) -> None:
    manager.catalog.invalidate_title("t-1")
    assert 590_000 < manager.client.pttl(INDEX) <= 600_000
    # Neither a short-lived entry nor another invalidation takes from a longer life.
    manager.catalog.recommendations("ada", Titles).set(["t-1"], titles=["t-1"])
    dashboard(manager).set(["t-1"], titles=["t-1"])
    manager.catalog.invalidate_title("t-1")
    assert manager.client.pttl(INDEX) > 3_600_000


def test_a_mark_outlives_an_entry_that_is_listed_behind_it(manager: CacheManager) -> None:
    manager.catalog.invalidate_title("t-1")
    dashboard(manager).set(["t-1"], titles=["t-1"])
    assert manager.client.pttl(INDEX) > 590_000


# ── while it is loaded ──────────────────────────────────────────────────────────────────────────


def loaded_while(
    entry: CatalogEntry[Titles], meanwhile: Callable[[], object], found: Iterable[str] = ("t-1",)
) -> Titles | None:
    """Load an entry, and do something while its loader runs."""
    runs, go_on, result = threading.Event(), threading.Event(), []

    def load() -> Titles:
        runs.set()
        assert go_on.wait(30)
        return list(found)

    thread = threading.Thread(target=lambda: result.append(entry.get_or_load(load, titles=titles)))
    thread.start()
    assert runs.wait(30)
    meanwhile()
    go_on.set()
    thread.join()
    return result[0]


def test_a_title_invalidated_while_it_is_loaded_is_not_stored_as_it_was(
    manager: CacheManager,
) -> None:
    entry = dashboard(manager)
    # This one the index has never heard of.
    assert loaded_while(entry, lambda: manager.catalog.invalidate_title("t-1")) == ["t-1"]
    assert entry.get() is None
    assert not manager.client.exists(entry.key)
    # And one that it lists, from before.
    entry.set(["t-1"], titles=["t-1"])
    entry.delete()
    assert loaded_while(entry, lambda: manager.catalog.invalidate_title("t-1")) == ["t-1"]
    assert entry.get() is None


def test_an_invalidation_is_not_forgotten_when_others_are_listed(manager: CacheManager) -> None:
    def meanwhile() -> None:
        manager.catalog.invalidate_title("t-1")
        dashboard(manager, "bob").set(["t-1"], titles=["t-1"])

    entry = dashboard(manager)
    loaded_while(entry, meanwhile)
    assert entry.get() is None


def test_another_title_invalidated_meanwhile_changes_nothing(manager: CacheManager) -> None:
    entry = dashboard(manager)
    loaded_while(entry, lambda: manager.catalog.invalidate_title("t-9"))
    assert entry.get() == ["t-1"]


def test_one_of_several_titles_is_enough(manager: CacheManager) -> None:
    entry = dashboard(manager)
    found = [f"t-{number}" for number in range(20)]
    loaded_while(entry, lambda: manager.catalog.invalidate_title("t-17"), found)
    assert entry.get() is None


def test_a_loader_that_begins_after_the_invalidation_is_stored(manager: CacheManager) -> None:
    manager.catalog.invalidate_title("t-1")
    marked = now_ms(manager)
    wait_until(lambda: now_ms(manager) > marked, interval=0.001)
    entry = dashboard(manager)
    assert entry.get_or_load(lambda: ["t-1"], titles=titles) == ["t-1"]
    assert entry.get() == ["t-1"]


def test_an_entry_invalidated_between_its_listing_and_its_storing_is_not_stored(
    store: StoreServer, connect: Connect
) -> None:
    with (
        Proxy(store.port) as proxy,
        connect(store, cache_addr=proxy.addr) as manager,
        connect(store) as other,
    ):
        dashboard(manager, "bob").get_or_load(lambda: ["t-1"], titles=titles)
        entry = dashboard(manager)
        # The last thing a load sends is its value.
        proxy.before(b'["t-1"]', lambda: other.catalog.invalidate_title("t-1"))
        assert entry.get_or_load(lambda: ["t-1"], titles=titles) == ["t-1"]
        assert proxy.idle
        assert entry.get() is None


# ── titles that cannot be told ──────────────────────────────────────────────────────────────────


def broken(_value: Titles) -> Titles:
    raise KeyError("no ids here")


def nameless(_value: Titles) -> Titles:
    return ["t-1", ""]


@pytest.mark.parametrize("wrong", [broken, nameless])
def test_a_value_with_unknown_titles_is_served_and_not_stored(
    manager: CacheManager, caplog: pytest.LogCaptureFixture, wrong: Callable[[Titles], Titles]
) -> None:
    entry = dashboard(manager)
    with caplog.at_level(logging.ERROR):
        assert entry.get_or_load(lambda: ["t-1"], titles=wrong) == ["t-1"]
    assert "reading its titles failed" in caplog.text
    assert "ada" not in caplog.text
    assert manager.counts().dropped_writes == 1
    # The claim is given up: the next one loads at once.
    assert not manager.client.exists(entry.key)
    assert entry.get_or_load(lambda: ["t-2"], titles=titles, wait=60) == ["t-2"]


def test_a_value_that_is_too_large_is_served_and_not_stored(manager: CacheManager) -> None:
    entry = dashboard(manager)
    huge = ["t-1", "x" * MAX_VALUE_BYTES]
    assert entry.get_or_load(lambda: huge, titles=lambda _: ["t-1"]) == huge
    assert not manager.client.exists(entry.key)


def test_nothing_found_has_no_titles(manager: CacheManager) -> None:
    entry = dashboard(manager)
    assert entry.get_or_load(lambda: None, titles=broken) is None
    assert manager.client.exists(entry.key)


def test_a_loader_may_not_run_for_longer_than_an_invalidation_is_remembered(
    manager: CacheManager,
) -> None:
    entry = dashboard(manager)
    with pytest.raises(InvalidInputError, match="load_timeout"):
        entry.get_or_load(lambda: ["t-1"], titles=titles, load_timeout=601)
    assert entry.get_or_load(lambda: ["t-1"], load_timeout=601) == ["t-1"]
    assert manager.client.dbsize() == 1
