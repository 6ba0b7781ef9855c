"""The heartbeats of workers, in the store."""

from __future__ import annotations

from typing import Any

import pytest

from cache import CacheManager
from cache.models import WorkerHeartbeat
from domain.errors import StoreUnavailableError
from tests.support.build import Connect
from tests.support.stores.server import StoreServer

ONE = WorkerHeartbeat(name="downloads-1@here", process="a", queues=("downloads.high",))
OTHER = WorkerHeartbeat(name="maintenance-1@here", process="b", queues=("maintenance",))


def shift(manager: CacheManager, seconds: float) -> None:
    """Make every heartbeat older."""
    entries: Any = manager.client.zrange("seen:workers", 0, -1, withscores=True)
    for member, at in entries:
        manager.client.zadd("seen:workers", {member: at - 1000 * seconds})


def test_workers_with_a_recent_heartbeat_run(manager: CacheManager) -> None:
    assert manager.workers.running() == []
    manager.workers.record(OTHER)
    manager.workers.record(ONE)
    assert manager.workers.running() == [ONE, OTHER]
    shift(manager, 21)
    manager.workers.record(ONE)
    assert manager.workers.running() == [ONE]
    assert manager.workers.running(within=60) == [ONE, OTHER]


def test_a_worker_that_ends_is_removed(manager: CacheManager) -> None:
    manager.workers.record(ONE)
    manager.workers.record(OTHER)
    manager.workers.remove(ONE)
    assert manager.workers.running() == [OTHER]


def test_workers_of_one_name_are_two(manager: CacheManager) -> None:
    twin = ONE.model_copy(update={"process": "c"})
    for worker in (ONE, twin):
        manager.workers.record(worker)
    assert manager.workers.running() == [ONE, twin]


def test_the_last_queues_of_a_worker_count(manager: CacheManager) -> None:
    manager.workers.record(ONE)
    shift(manager, 5)
    changed = ONE.model_copy(update={"queues": ("downloads.high", "downloads.low")})
    manager.workers.record(changed)
    assert manager.workers.running() == [changed]


def test_old_heartbeats_are_removed_by_the_next_one(manager: CacheManager) -> None:
    manager.workers.record(ONE)
    shift(manager, 3601)
    manager.workers.record(OTHER)
    assert manager.client.zcard("seen:workers") == 1
    assert 0 < manager.client.ttl("seen:workers") <= 3600


def test_members_of_another_program_are_left_out(manager: CacheManager) -> None:
    manager.workers.record(ONE)
    now = manager.client.time()[0] * 1000
    odd: Any
    for odd in ("", "x", "1", "[]", '["a"]', "{}", "\x00", "[" * 5000, b"\xff"):
        manager.client.zadd("seen:workers", {odd: now})
    assert manager.workers.running() == [ONE]


def test_without_store_every_method_raises(private_store: StoreServer, connect: Connect) -> None:
    with connect(private_store, cache_timeout=0.2) as manager:
        private_store.kill()
        for use in (
            lambda: manager.workers.record(ONE),
            lambda: manager.workers.remove(ONE),
            manager.workers.running,
        ):
            with pytest.raises(StoreUnavailableError):
                use()
