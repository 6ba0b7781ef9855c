"""The client-side cache: hits without the store, taken back when the value changes anywhere."""

from __future__ import annotations

import gc
import time

import pytest
from redis import Redis

from cache import CacheManager, CacheService
from cache.platform.client_side_cache import Fetched
from tests.support.build import Connect
from tests.support.client_side import client_side_hits, reads
from tests.support.loading import Loader
from tests.support.servers.tcp_proxy import Proxy
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until

KEY = "seen:catalog:dashboard:x"


@pytest.fixture
def service(caching: CacheManager) -> CacheService:
    return caching.service


# ── hits ────────────────────────────────────────────────────────────────────────────────────────


def test_a_value_is_read_from_the_store_once(
    service: CacheService, caching: CacheManager, client: Redis
) -> None:
    service.set(KEY, 1, 60)
    before = reads(client)
    assert [service.get(KEY, int) for _ in range(100)] == [1] * 100
    assert reads(client) == before + 1
    assert (caching.counts().hits, caching.counts().client_side_hits) == (100, 99)


def test_a_hit_takes_no_round_trip(store: StoreServer, connect: Connect) -> None:
    with (
        Proxy(store.port) as proxy,
        connect(store, cache_client_side_entries=9, cache_addr=proxy.addr) as caching,
    ):
        caching.service.set(KEY, 1, 60)
        caching.service.get(KEY, int)
        before, began = proxy.round_trips, time.monotonic()
        for _ in range(200):
            caching.service.get(KEY, int)
        signs_of_life = time.monotonic() - began  # one a second is asked for
        assert proxy.round_trips - before <= signs_of_life


def test_without_being_asked_for_there_is_none(other: CacheManager, client: Redis) -> None:
    other.service.set(KEY, 1, 60)
    before = reads(client)
    for _ in range(10):
        other.service.get(KEY, int)
    assert reads(client) == before + 10
    assert other.counts().client_side_hits == 0


def test_what_is_not_there_is_asked_for_each_time(service: CacheService, client: Redis) -> None:
    before = reads(client)
    assert [service.get(KEY, int) for _ in range(5)] == [None] * 5
    assert reads(client) == before + 5


def test_each_model_reads_the_value_for_itself(service: CacheService) -> None:
    service.set(KEY, 1, 60)
    for _ in range(3):
        assert service.get(KEY, int) == 1
        assert service.get(KEY, float) == 1.0
        assert type(service.get(KEY, float)) is float


# ── families ────────────────────────────────────────────────────────────────────────────────────


def test_catalogs_and_recommendations_are_kept_and_nothing_else(
    caching: CacheManager, service: CacheService
) -> None:
    keys = caching.keys
    kept = [
        keys.catalog_dashboard_key("ada"),
        keys.catalog_search_key("neon", "", ""),
        keys.recommendation_key("ada"),
    ]
    others = [keys.session_key("s"), keys.user_key("ada"), "seen:catalogue:x", "catalog:x"]
    for key in kept + others:
        service.set(key, 1, 60)
        service.get(key, int)
    for key, hit in [*((key, 1) for key in kept), *((key, 0) for key in others)]:
        assert client_side_hits(caching, lambda key=key: service.get(key, int)) == hit, key  # type: ignore[misc]


def test_families_can_be_chosen(store: StoreServer, connect: Connect) -> None:
    caching = connect(
        store, cache_client_side_entries=9, client_side_families=["user"], cache_namespace="mine"
    )
    user, catalog = caching.keys.user_key("ada"), caching.keys.catalog_dashboard_key("ada")
    for key in (user, catalog):
        caching.service.set(key, 1, 60)
        caching.service.get(key, int)
    assert client_side_hits(caching, lambda: caching.service.get(user, int)) == 1
    assert client_side_hits(caching, lambda: caching.service.get(catalog, int)) == 0
    none = connect(
        store, cache_client_side_entries=9, client_side_families=[], cache_namespace="mine"
    )
    none.service.get(user, int)
    assert client_side_hits(none, lambda: none.service.get(user, int)) == 0


# ── bounds ──────────────────────────────────────────────────────────────────────────────────────


def test_the_oldest_entry_goes_first(store: StoreServer, connect: Connect) -> None:
    caching = connect(store, cache_client_side_entries=10)
    keys = [f"seen:catalog:{number}" for number in range(30)]
    caching.service.mset(dict.fromkeys(keys, 1), 60)
    for key in keys:
        caching.service.get(key, int)
    assert (
        client_side_hits(caching, lambda: [caching.service.get(key, int) for key in keys[-10:]])
        == 10
    )
    assert (
        client_side_hits(caching, lambda: [caching.service.get(key, int) for key in keys[:20]]) == 0
    )


def test_what_is_read_in_vain_takes_no_room(store: StoreServer, connect: Connect) -> None:
    caching = connect(store, cache_client_side_entries=10)
    before = places()
    for number in range(100):
        for _ in range(2):  # the second finds that there is nothing
            caching.service.get_or_load(f"seen:catalog:{number}", int, Loader(None), 60)
    assert places() - before <= 10


def places() -> int:
    """How many places there are in memory for values that have been fetched and not kept."""
    gc.collect()
    return sum(type(one) is Fetched for one in gc.get_objects())


# ── loading through it ──────────────────────────────────────────────────────────────────────────


def test_a_loaded_value_is_kept_too(
    service: CacheService, caching: CacheManager, client: Redis
) -> None:
    loader = Loader(1)

    def load() -> int | None:
        return service.get_or_load(KEY, int, loader, 60)

    wait_until(
        lambda: client_side_hits(caching, load) == 1, interval=0.001, what="a value that is kept"
    )
    before = reads(client)
    assert [load() for _ in range(50)] == [1] * 50
    assert service.get(KEY, int) == 1
    assert reads(client) == before
    assert loader.runs == 1


def test_a_loaded_value_is_kept_no_longer_than_it_is_fresh(service: CacheService) -> None:
    assert service.get_or_load(KEY, int, Loader(1), 0.3, stale_for=60) == 1
    stale_at = time.monotonic() + 0.3 + 0.01  # freshness is counted in whole milliseconds
    while True:
        began = time.monotonic()
        # A plain read takes the stale value, too, and must not keep it for those who do not want it.
        assert service.get(KEY, int) in (1, 2)
        if service.get_or_load(KEY, int, Loader(2), 60, stale_for=60) == 2:
            break
        assert began < stale_at


def test_a_remembered_nothing_is_not_kept(service: CacheService, other: CacheManager) -> None:
    service.get_or_load(KEY, int, Loader(None), 60)
    assert service.get_or_load(KEY, int, Loader(5), 60) is None
    other.service.set(KEY, 1, 60)
    assert service.get_or_load(KEY, int, Loader(5), 60) == 1
