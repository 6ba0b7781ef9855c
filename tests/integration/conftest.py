"""What tests in this process share: a system without processes, a cache, a database of each kind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cache import CacheManager, DownloadCache
from database import Database, JobRepository
from tasks.api.accounts import AccountParts
from tests.support.accounts import Clock
from tests.support.build import cache_manager, cache_settings
from tests.support.databases import KINDS, emptied, shared_database
from tests.support.services.system import System
from tests.support.stores.server import StoreServer


@pytest.fixture
def system(tmp_path: Path, store: StoreServer) -> Iterator[System]:
    """One on SQLite."""
    with System(tmp_path, store) as system:
        yield system


@pytest.fixture
def any_system(tmp_path: Path, store: StoreServer, migrated_url: str) -> Iterator[System]:
    """One on each kind of database."""
    with System(tmp_path, store, database_url=migrated_url) as system:
        yield system


@pytest.fixture
def manager(store: StoreServer) -> Iterator[CacheManager]:
    """A cache on an empty store; no progress hash without a life may be left in it."""
    with cache_manager(store) as manager:
        yield manager
        lifeless = [
            key
            for key in manager.client.scan_iter(match="seen:download:job:*", count=1000)
            if manager.client.pttl(key) == -1
        ]
        assert lifeless == []


@pytest.fixture
def cache(manager: CacheManager) -> DownloadCache:
    """Its download cache."""
    return manager.download


@pytest.fixture(scope="module", params=KINDS)
def database(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Database]:
    """A migrated database, once for each kind and module."""
    with shared_database(request, tmp_path_factory) as database:
        yield database


@pytest.fixture
def repo(database: Database) -> JobRepository:
    """The jobs of an empty database."""
    return JobRepository(emptied(database))


@pytest.fixture
def clock() -> Clock:
    """The clock of `accounts`."""
    return Clock()


@pytest.fixture
def accounts(
    database: Database, store: StoreServer, manager: CacheManager, clock: Clock
) -> AccountParts:
    """The accounts of an empty database, of each kind."""
    settings = cache_settings(store)
    return AccountParts(settings=settings, database=emptied(database), cache=manager, now=clock)
