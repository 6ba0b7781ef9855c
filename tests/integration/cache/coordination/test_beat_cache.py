"""Beat's sign of life, and which periodic tasks were sent lately, in the store."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from cache import CacheManager
from domain.errors import StoreUnavailableError
from tests.support.build import Connect
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until


def now_ms(manager: CacheManager) -> int:
    seconds, micro = manager.client.time()
    return seconds * 1000 + micro // 1000


def test_without_a_beat_there_is_no_sign(manager: CacheManager) -> None:
    assert manager.beat.status() is None
    assert manager.health_check().beat_age is None


def test_a_tick_says_who_and_when_by_the_clock_of_the_store(manager: CacheManager) -> None:
    before = now_ms(manager)
    manager.beat.tick("host:1")
    after = now_ms(manager)

    status = manager.beat.status()

    assert status is not None
    assert status.process == "host:1"
    assert before <= status.ticked_at.timestamp() * 1000 <= after
    assert 0 <= status.age_seconds < 60
    assert not status.is_missing
    assert 0 < manager.client.pttl("seen:beat") <= 24 * 3600 * 1000


def test_the_keys_are_the_documented_ones(manager: CacheManager) -> None:
    manager.beat.tick("host:1")
    assert set(manager.client.hgetall("seen:beat")) == {b"worker", b"at"}
    manager.beat.claim("download.requeue_due", "host:1", 2.0)
    key = "seen:beat:sent:download.requeue_due"
    assert manager.client.get(key) == b"host:1"
    assert 1000 < manager.client.pttl(key) <= 2000


def test_an_entry_is_claimed_once_an_interval(manager: CacheManager) -> None:
    assert manager.beat.claim("a", "host:1", 0.3) == 0
    assert manager.beat.claim("b", "host:1", 60) == 0, "each entry by itself"
    left = manager.beat.claim("a", "host:2", 0.3)
    assert 0 < left <= 0.3
    assert 0 < manager.beat.claim("a", "host:1", 0.3) <= left, "also to the beat that claimed it"
    wait_until(lambda: manager.beat.claim("a", "host:2", 0.3) == 0, interval=0.01)


def test_a_claim_is_released(manager: CacheManager) -> None:
    manager.beat.claim("a", "host:1", 60)
    manager.beat.release("a")
    assert manager.beat.claim("a", "host:2", 60) == 0
    manager.beat.release("b")


def test_of_many_that_claim_at_once_one_succeeds(manager: CacheManager) -> None:
    with ThreadPoolExecutor(8) as threads:
        waits = list(threads.map(lambda n: manager.beat.claim("a", f"host:{n}", 60), range(64)))
    assert waits.count(0) == 1
    assert all(59 < wait <= 60 for wait in waits if wait)


@pytest.mark.parametrize("left", [61_000, 7 * 24 * 3_600_000, None])
def test_a_claim_that_cannot_be_one_is_replaced(manager: CacheManager, left: int | None) -> None:
    manager.client.set("seen:beat:sent:a", "x", px=left)
    assert manager.beat.claim("a", "host:1", 60) == 0
    assert manager.client.get("seen:beat:sent:a") == b"host:1"


def test_a_claim_replaces_a_key_of_another_type(manager: CacheManager) -> None:
    manager.client.lpush("seen:beat:sent:a", "x")
    assert manager.beat.claim("a", "host:1", 60) == 0
    assert manager.beat.claim("a", "host:2", 60) > 0


@pytest.mark.parametrize(("age", "missing"), [(29_000, False), (31_000, True)])
def test_an_old_sign_is_no_sign_of_life(manager: CacheManager, age: int, missing: bool) -> None:
    manager.beat.tick("host:1")
    manager.client.hset("seen:beat", "at", now_ms(manager) - age)
    status = manager.beat.status()
    assert status is not None
    assert status.is_missing is missing
    assert age / 1000 <= status.age_seconds < age / 1000 + 5


def test_a_sign_from_the_future_has_no_age(manager: CacheManager) -> None:
    """The store's clock went back."""
    manager.beat.tick("host:1")
    manager.client.hset("seen:beat", "at", now_ms(manager) + 3_600_000)
    status = manager.beat.status()
    assert status is not None
    assert status.age_seconds == 0
    assert status.ticked_at > datetime.now(UTC)


def test_the_health_report_has_the_age(manager: CacheManager) -> None:
    manager.beat.tick("host:1")
    manager.client.hset("seen:beat", "at", now_ms(manager) - 90_000)
    report = manager.health_check()
    assert report.ok, "a cache without beat is a good cache"
    assert report.beat_age is not None
    assert 90 <= report.beat_age < 95


def test_without_store_nothing_is_said(private_store: StoreServer, connect: Connect) -> None:
    with connect(private_store, cache_timeout=0.2) as manager:
        manager.beat.tick("host:1")
        private_store.kill()
        for ask in (
            lambda: manager.beat.tick("host:1"),
            lambda: manager.beat.claim("a", "host:1", 60),
            lambda: manager.beat.release("a"),
            manager.beat.status,
        ):
            with pytest.raises(StoreUnavailableError):
                ask()
        assert manager.health_check().beat_age is None
