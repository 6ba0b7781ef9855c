"""Beat's sign of life and the last runs, in the store."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from cache import CacheManager
from domain.errors import StoreUnavailableError
from tests.support.build import Connect
from tests.support.stores.server import StoreServer


def now_ms(manager: CacheManager) -> int:
    seconds, micro = manager.client.time()
    return seconds * 1000 + micro // 1000


def test_without_a_beat_there_is_no_sign(manager: CacheManager) -> None:
    assert manager.beat.status() is None
    assert manager.beat.last_runs() == {}
    assert manager.health_check().beat_age is None


def test_a_tick_says_who_and_when_by_the_clock_of_the_store(manager: CacheManager) -> None:
    before = now_ms(manager)
    manager.beat.tick("host:1", {})
    after = now_ms(manager)

    status = manager.beat.status()

    assert status is not None
    assert status.worker == "host:1"
    assert before <= status.ticked_at.timestamp() * 1000 <= after
    assert 0 <= status.age_seconds < 5
    assert status.standbys == ()
    assert not status.is_missing
    assert 0 < manager.client.pttl("seen:beat") <= 24 * 3600 * 1000


def test_the_keys_are_the_documented_ones(manager: CacheManager) -> None:
    manager.beat.tick("host:1", {"download.requeue_due": 1.5})
    manager.beat.stand_by("host:2")
    fields = manager.client.hgetall("seen:beat")
    assert set(fields) == {b"worker", b"at", b"standby:host:2"}
    runs = manager.client.hgetall("seen:beat:runs")
    assert abs(int(fields[b"at"]) - 1500 - int(runs[b"download.requeue_due"])) < 50
    assert 0 < manager.client.pttl("seen:beat:runs") <= 24 * 3600 * 1000


def test_who_leads_stands_by_no_more(manager: CacheManager) -> None:
    for worker in ("host:3", "host:2"):
        manager.beat.stand_by(worker)
    assert manager.beat.status() is None, "nobody has ticked"
    manager.beat.tick("host:1", {})
    status = manager.beat.status()
    assert status is not None
    assert status.standbys == ("host:2", "host:3")

    manager.beat.tick("host:2", {})

    status = manager.beat.status()
    assert status is not None
    assert (status.worker, status.standbys) == ("host:2", ("host:3",))


def test_one_that_looks_no_more_stands_by_no_more(manager: CacheManager) -> None:
    manager.beat.tick("host:1", {})
    manager.client.hset("seen:beat", "standby:host:2", now_ms(manager) - 21_000)
    status = manager.beat.status()
    assert status is not None
    assert status.standbys == ()
    manager.beat.stand_by("host:3")
    assert set(manager.client.hkeys("seen:beat")) == {b"worker", b"at", b"standby:host:3"}


@pytest.mark.parametrize(("age", "missing"), [(29_000, False), (31_000, True)])
def test_an_old_sign_is_no_sign_of_life(manager: CacheManager, age: int, missing: bool) -> None:
    manager.beat.tick("host:1", {})
    manager.client.hset("seen:beat", "at", now_ms(manager) - age)
    status = manager.beat.status()
    assert status is not None
    assert status.is_missing is missing
    assert age / 1000 <= status.age_seconds < age / 1000 + 5


def test_a_sign_from_the_future_has_no_age(manager: CacheManager) -> None:
    """The store's clock went back."""
    manager.beat.tick("host:1", {})
    manager.client.hset("seen:beat", "at", now_ms(manager) + 3_600_000)
    status = manager.beat.status()
    assert status is not None
    assert status.age_seconds == 0
    assert status.ticked_at > datetime.now(UTC)


def test_runs_are_remembered_by_their_age(manager: CacheManager) -> None:
    manager.beat.tick("host:1", {"a": 4.0, "b": 299.25})
    manager.beat.tick("host:1", {"a": 0.0})
    ages = manager.beat.last_runs()
    assert ages.keys() == {"a", "b"}
    assert 0 <= ages["a"] < 5
    assert 299.2 <= ages["b"] < 305


def test_the_health_report_tells_the_age(manager: CacheManager) -> None:
    manager.beat.tick("host:1", {})
    manager.client.hset("seen:beat", "at", now_ms(manager) - 90_000)
    report = manager.health_check()
    assert report.ok, "a cache without beat is a good cache"
    assert report.beat_age is not None
    assert 90 <= report.beat_age < 95


def test_without_store_nothing_is_said(private_store: StoreServer, connect: Connect) -> None:
    with connect(private_store, cache_timeout=0.2) as manager:
        manager.beat.tick("host:1", {"a": 0})
        private_store.kill()
        for ask in (
            lambda: manager.beat.tick("host:1", {"a": 0}),
            lambda: manager.beat.stand_by("host:1"),
            manager.beat.status,
            manager.beat.last_runs,
        ):
            with pytest.raises(StoreUnavailableError):
                ask()
        assert manager.health_check().beat_age is None


def test_a_store_that_has_lost_its_scripts_is_told_again(manager: CacheManager) -> None:
    manager.beat.tick("host:1", {"a": 0})
    manager.client.script_flush()
    manager.beat.tick("host:1", {"a": 0})
    manager.client.script_flush()
    manager.beat.stand_by("host:2")
    status = manager.beat.status()
    assert status is not None
    assert status.standbys == ("host:2",)
