"""Accounts in this process: users, their keys and sessions, on a real database and a real store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from cache import CacheManager
from database import Database
from domain.access import Principal
from settings import Settings
from tasks.api import accounts
from tasks.api.accounts import AccountParts, NewKey, NewSession

LOCAL = Principal.local()
ADDRESS = "192.0.2.7"


class Clock:
    """The wall clock, moved by hand."""

    def __init__(self) -> None:
        self._moved = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self._moved

    def move(self, **by: float) -> None:
        self._moved += timedelta(**by)


def with_settings(parts: AccountParts, **changes: Any) -> AccountParts:
    """The same accounts under other settings."""
    return replace(parts, settings=parts.settings.model_copy(update=changes))


@contextmanager
def without_store(parts: AccountParts) -> Iterator[AccountParts]:
    """The same accounts in a process that does not reach the store."""
    nowhere = Settings(cache_addr="127.0.0.1:1", cache_connect_timeout=0.5)
    with CacheManager.connect(nowhere, retries=0) as cache:
        yield replace(parts, cache=cache)


def without_database(parts: AccountParts) -> AccountParts:
    """The same accounts in a process that does not reach the database."""
    return replace(parts, database=Database("postgresql+psycopg://seen@127.0.0.1:1/none"))


def user_with_key(parts: AccountParts, name: str = "ada", role: str = "user") -> NewKey:
    """Add a user, and return a key of it."""
    accounts.add_user(LOCAL, name, role, runtime=parts)
    return accounts.create_key(LOCAL, name, runtime=parts)


def user_with_session(parts: AccountParts, name: str = "ada", role: str = "user") -> NewSession:
    """Add a user, and sign it in with a link."""
    accounts.add_user(LOCAL, name, role, runtime=parts)
    return signed_in(parts, name)


def signed_in(parts: AccountParts, name: str = "ada") -> NewSession:
    """Sign a user in with a new link."""
    link = accounts.create_link(LOCAL, name, runtime=parts)
    return accounts.sign_in(link.token, address=ADDRESS, runtime=parts)


def by_key(secret: object, parts: AccountParts, address: str | None = ADDRESS) -> Principal:
    """The principal of a key."""
    return accounts.authenticate_key(secret, address=address, runtime=parts)


def by_session(token: object, parts: AccountParts, address: str | None = ADDRESS) -> Principal:
    """The principal of a session."""
    return accounts.authenticate_session(token, address=address, runtime=parts)
