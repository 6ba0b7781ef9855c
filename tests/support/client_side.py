"""Whether a read was a hit in the client-side cache."""

from __future__ import annotations

from collections.abc import Callable

from redis import Redis

from cache import CacheManager
from tests.support.stores.commands import commands
from tests.support.wait import wait_until


def client_side_hits(caching: CacheManager, read: Callable[[], object]) -> int:
    """Read; how many hits in the client-side cache that was."""
    before = caching.counts().client_side_hits
    read()
    return caching.counts().client_side_hits - before


def is_kept(caching: CacheManager, key: str) -> bool:
    """Read a number; say whether that was a hit in the client-side cache."""
    return client_side_hits(caching, lambda: caching.service.get(key, int)) == 1


def keep(caching: CacheManager, key: str) -> None:
    """Read a number until the client-side cache has it: an earlier invalidation may come late."""
    wait_until(lambda: is_kept(caching, key), interval=0.001, what="a value that is kept")


def reads(client: Redis) -> int:
    """How often any key has been read from the server."""
    return commands(client).get("get", 0)
