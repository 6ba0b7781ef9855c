"""What the client-side cache holds changes: elsewhere, by this process itself, or while it is read."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel
from redis import Redis

from cache import CacheManager, CacheService
from tests.support.build import Connect
from tests.support.client_side import is_kept, keep
from tests.support.loading import Caller
from tests.support.servers.tcp_proxy import Proxy
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until

KEY = "seen:catalog:dashboard:x"


@pytest.fixture
def service(caching: CacheManager) -> CacheService:
    return caching.service


# ── changes elsewhere ───────────────────────────────────────────────────────────────────────────

CHANGES: dict[str, tuple[Callable[[CacheManager], object], int | None]] = {
    "set": (lambda other: other.service.set(KEY, 2, 60), 2),
    "mset": (lambda other: other.service.mset({KEY: 2}, 60), 2),
    "delete": (lambda other: other.service.delete(KEY), None),
    "pattern": (lambda other: other.service.delete_by_pattern("seen:catalog:*"), None),
    "expire": (lambda other: other.service.expire(KEY, 0.001), None),
    "flush": (lambda other: other.client.flushall(), None),
    "rename": (lambda other: other.client.rename(KEY, "seen:catalog:y"), None),
    "append": (lambda other: other.client.append(KEY, "0"), 10),
}


@pytest.mark.parametrize(("change", "then"), CHANGES.values(), ids=CHANGES)
def test_a_change_by_another_process_is_seen(
    service: CacheService,
    caching: CacheManager,
    other: CacheManager,
    change: Callable[[CacheManager], object],
    then: int | None,
) -> None:
    for _ in range(5):
        service.set(KEY, 1, 60)
        keep(caching, KEY)
        assert service.get(KEY, int) == 1
        change(other)
        wait_until(lambda: service.get(KEY, int) == then, interval=0.001, what="the change")


def test_a_change_of_one_key_leaves_the_others(
    service: CacheService, caching: CacheManager, other: CacheManager
) -> None:
    service.mset({KEY: 1, "seen:catalog:y": 2}, 60)
    keep(caching, KEY)
    keep(caching, "seen:catalog:y")
    other.service.set(KEY, 3, 60)
    wait_until(lambda: service.get(KEY, int) == 3, interval=0.001)
    assert is_kept(caching, "seen:catalog:y")


def test_an_expired_value_is_not_served_without_an_invalidation(
    store: StoreServer, connect: Connect
) -> None:
    with (
        Proxy(store.port) as proxy,
        connect(
            store, cache_client_side_entries=9, cache_addr=proxy.addr, cache_budget=1
        ) as caching,
    ):
        caching.service.set(KEY, 1, 0.3)
        keep(caching, KEY)
        expired_at = time.monotonic() + 0.3
        proxy.pause()
        while True:
            began = time.monotonic()
            if caching.service.get(KEY, int) is None:
                break
            assert began < expired_at
        proxy.resume()


class Hooked(BaseModel):
    """Does something while it is read: between the fetch and the keeping."""

    number: int

    def model_post_init(self, context: Any) -> None:
        for hook in HOOKS:
            hook()


HOOKS: list[Callable[[], object]] = []


def test_a_change_between_fetch_and_keeping_is_not_kept(
    service: CacheService, other: CacheManager
) -> None:
    other.service.set(KEY, {"number": 1}, 60)
    changed = other.client.get(KEY)
    other.service.set(KEY, {"number": 0}, 60)
    assert changed is not None

    def change() -> None:
        HOOKS.clear()
        other.client.set(KEY, changed)
        other.client.ping()  # the server has told everybody by now

    HOOKS.append(change)
    assert service.get(KEY, Hooked) == Hooked(number=0)
    assert HOOKS == []
    assert service.get(KEY, Hooked) == Hooked(number=1)


# ── changes of one's own ────────────────────────────────────────────────────────────────────────


def test_a_change_of_ones_own_costs_one_read(
    store: StoreServer, connect: Connect, client: Redis
) -> None:
    caching = connect(store, cache_client_side_entries=9)
    for number in range(20):
        caching.service.set(KEY, number, 60)
        client.ping()  # the server has told everybody by now
        assert caching.service.get(KEY, int) == number
        assert is_kept(caching, KEY)


WRITES: dict[str, tuple[Callable[[CacheManager], object], int | None]] = {
    "set": (lambda caching: caching.service.set(KEY, 2, 60), 2),
    "mset": (lambda caching: caching.service.mset({KEY: 2}, 60), 2),
    "increment": (lambda caching: caching.service.increment(KEY), 2),
    "delete": (lambda caching: caching.service.delete(KEY), None),
    "pattern": (lambda caching: caching.service.delete_by_pattern("seen:catalog:*"), None),
    "expire": (lambda caching: caching.service.expire(KEY, 0.001), None),
    "entry.set": (lambda caching: caching.catalog.dashboard("x", int).set(2), 2),
    "entry.delete": (lambda caching: caching.catalog.dashboard("x", int).delete(), None),
    "invalidate": (lambda caching: caching.catalog.invalidate_user_catalog("x"), None),
}


@pytest.mark.parametrize(("write", "then"), WRITES.values(), ids=WRITES)
def test_what_one_writes_oneself_is_seen_before_the_server_says_so(
    store: StoreServer,
    connect: Connect,
    client: Redis,
    write: Callable[[CacheManager], object],
    then: int | None,
) -> None:
    with (
        Proxy(store.port) as proxy,
        connect(
            store, cache_client_side_entries=9, cache_addr=proxy.addr, cache_budget=5
        ) as caching,
    ):
        client.set(KEY, 1, ex=60)
        keep(caching, KEY)
        held = threading.Event()
        # Nothing passes on the client-side cache's own connection, in neither direction.
        proxy.before(b"PTTL", lambda: held.wait(60))
        with Caller(lambda: caching.service.get("seen:catalog:other", int)) as caller:
            wait_until(lambda: proxy.idle, what="a connection that is held up")
            write(caching)
            if then is None:
                wait_until(lambda: not client.exists(KEY))
            assert caching.service.get(KEY, int) == then
            held.set()
            assert caller.result() is None
