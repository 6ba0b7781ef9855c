"""Accounts on each kind of database, and a real store."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from cache import CacheManager
from database import Database
from tasks.api.accounts import AccountParts
from tests.support.build import cache_settings
from tests.support.databases import emptied
from tests.support.stores.server import StoreServer


class Clock:
    """The wall clock, moved by hand."""

    def __init__(self) -> None:
        self.moved = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.moved

    def move(self, **by: float) -> None:
        self.moved += timedelta(**by)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def accounts(
    database: Database, store: StoreServer, manager: CacheManager, clock: Clock
) -> AccountParts:
    return AccountParts(
        settings=cache_settings(store), database=emptied(database), cache=manager, now=clock
    )
