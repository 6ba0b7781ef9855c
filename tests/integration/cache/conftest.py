"""Every test of the cache runs on both of its sides: blocking, and on asyncio."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from redis import Redis

from cache import CacheManager, CacheService
from tests.support.bridge import AsyncSide
from tests.support.build import Connect, cache_manager, cache_settings
from tests.support.stores.server import StoreServer

#: What is said to `CacheManager.connect`; everything else is a setting.
OWN_OPTIONS = ("retries", "client_side_families")


@pytest.fixture(params=["sync", "async"])
def connect(request: pytest.FixtureRequest) -> Iterator[Connect]:
    """Makes managers of the side that the test runs on: ``connect(store, cache_budget=0.1, …)``."""
    with ExitStack() as stack:
        if request.param == "sync":

            def manager(store: StoreServer, **options: Any) -> CacheManager:
                return stack.enter_context(cache_manager(store, **options))

        else:
            side = stack.enter_context(AsyncSide())

            def manager(store: StoreServer, **options: Any) -> CacheManager:
                own = {name: options.pop(name) for name in OWN_OPTIONS if name in options}
                return side.manager(cache_settings(store, **options), **own)

        yield manager


@pytest.fixture
def manager(store: StoreServer, connect: Connect) -> Iterator[CacheManager]:
    """A cache on an empty store; no progress hash without a life may be left in it."""
    manager = connect(store)
    yield manager
    lifeless = [
        key
        for key in manager.client.scan_iter(match="seen:download:job:*", count=1000)
        if manager.client.pttl(key) == -1
    ]
    assert lifeless == []


@pytest.fixture
def master() -> Iterator[StoreServer]:
    """A second server, for the private one to become a replica of."""
    with StoreServer() as server:
        yield server


@pytest.fixture
def service(manager: CacheManager) -> CacheService:
    """Its values."""
    return manager.service


@pytest.fixture
def caching(store: StoreServer, connect: Connect) -> CacheManager:
    """A manager with a client-side cache."""
    return connect(store, cache_client_side_entries=100)


@pytest.fixture
def other(store: StoreServer, connect: Connect) -> CacheManager:
    """Another process, without one."""
    return connect(store)


@pytest.fixture
def client(store: StoreServer) -> Iterator[Redis]:
    """The tests' own look at the server."""
    with store.client() as client:
        yield client
