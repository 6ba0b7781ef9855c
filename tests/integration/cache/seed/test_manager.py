"""Cache manager, background tasks, health checks, invalidation."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import Any

import pytest

import cache
from cache import CacheManager, CacheStats, SessionData, UserData
from domain.errors import InvalidInputError, StoreUnavailableError
from tests.support.build import cache_settings, login, progress
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until


def test_new_manager(store: StoreServer) -> None:
    """`cache.NewManager(ctx, cfg.Cache, log)`; without a store: "dragonfly startup failed"."""
    nowhere = cache_settings(store, cache_addr="127.0.0.1:1")
    with pytest.raises(StoreUnavailableError):
        CacheManager.connect(nowhere, require_store=True)
    manager = CacheManager.connect(cache_settings(store), require_store=True)
    assert manager.ping() > 0
    manager.close()


def test_new_manager_on_asyncio(store: StoreServer) -> None:
    async def start(addr: str) -> float:
        settings = cache_settings(store, cache_addr=addr)
        async with CacheManager.connect_async(settings, require_store=True) as manager:
            return await manager.ping()

    assert asyncio.run(start(store.addr)) > 0
    with pytest.raises(StoreUnavailableError):
        asyncio.run(start("127.0.0.1:1"))


def test_defer_manager_close(store: StoreServer) -> None:
    """`defer manager.Close()`"""
    with store.client() as client:
        before = len(client.client_list())
        manager = CacheManager.connect(cache_settings(store))
        with manager:
            manager.ping()
            manager.service.exists("key")
            assert len(client.client_list()) == before + 2
        wait_until(lambda: len(client.client_list()) == before)


@pytest.mark.parametrize("part", ["service", "session", "catalog", "download"])
def test_specialized_caches(manager: CacheManager, part: str) -> None:
    """`manager.Session()`, `.Catalog()`, `.Download()`, `.Service()`"""
    assert getattr(manager, part).store is not None
    assert not callable(getattr(manager, part))


# ── background tasks ────────────────────────────────────────────────────────────────────────────


def test_run_cleanup_tasks(manager: CacheManager, caplog: pytest.LogCaptureFixture) -> None:
    """`m.download.CleanupStaleProgress(ctx, 1*time.Hour)`, `m.log.Debug("cache stats", …)`"""
    manager.download.set_progress(progress("job-1"))
    with caplog.at_level(logging.DEBUG):
        report = manager.run_maintenance(stale_after=timedelta(hours=1))
    assert (report.stale, report.gone) == (0, 0)
    assert "keys" in caplog.text
    assert manager.run_maintenance(stale_after=timedelta()).stale == 1


# ── health checks ───────────────────────────────────────────────────────────────────────────────


def test_ping(manager: CacheManager) -> None:
    """`cacheManager.Ping(ctx)`"""
    assert manager.ping() > 0


def test_health_check(manager: CacheManager) -> None:
    """`cacheManager.HealthCheck(ctx)`: a write, a read and a deletion."""
    report = manager.health_check()
    assert (report.ok, report.error) == (True, None)
    assert min(report.write_ms, report.read_ms, report.delete_ms) > 0


def test_stats(manager: CacheManager) -> None:
    """`cacheManager.Stats(ctx)` returns dbSize, memory usage, keyspace info."""
    manager.service.set("seen:x", 1, 60)
    stats = manager.stats()
    assert isinstance(stats, CacheStats)
    assert stats.db_size == 1
    assert stats.used_memory > 0
    assert stats.keyspace == {"db0": 1}


# ── invalidation ────────────────────────────────────────────────────────────────────────────────


def fill(manager: CacheManager, user_id: str) -> None:
    manager.session.set_session(login(f"s-{user_id}", user_id=user_id))
    manager.session.set_user(UserData(id=user_id, email="a@example.com"))
    manager.catalog.set_dashboard(user_id, {"films": []})
    manager.catalog.set_watch_later(user_id, [])
    manager.download.set_progress(progress(f"job-{user_id}", user_id=user_id))


def left(manager: CacheManager, user_id: str) -> list[Any]:
    found = [
        manager.session.get_session(f"s-{user_id}"),
        manager.session.get_user(user_id),
        manager.catalog.get_dashboard(user_id, dict[str, list[str]]),
        manager.catalog.get_watch_later(user_id, list[str]),
        manager.download.get_progress(f"job-{user_id}"),
    ]
    return [one for one in found if one is not None]


@pytest.fixture
def users(manager: CacheManager) -> CacheManager:
    fill(manager, "ada")
    fill(manager, "bob")
    assert (len(left(manager, "ada")), len(left(manager, "bob"))) == (5, 5)
    return manager


def test_invalidate_user(users: CacheManager) -> None:
    """`cacheManager.InvalidateUser(ctx, userID)`"""
    assert sum(dict(users.invalidate_user("ada")).values()) == 5
    assert (len(left(users, "ada")), len(left(users, "bob"))) == (0, 5)


def test_invalidate_user_catalog(users: CacheManager) -> None:
    """`cacheManager.Catalog().InvalidateUserCatalog(ctx, userID)`"""
    assert users.catalog.invalidate_user_catalog("ada") == 2
    assert (len(left(users, "ada")), len(left(users, "bob"))) == (3, 5)


def test_invalidate_user_downloads(users: CacheManager) -> None:
    """`cacheManager.Download().InvalidateUserDownloads(ctx, userID)`"""
    assert users.download.invalidate_user_downloads("ada") == 1
    assert (len(left(users, "ada")), len(left(users, "bob"))) == (4, 5)


def test_invalidate_user_sessions(users: CacheManager) -> None:
    """`cacheManager.Session().InvalidateUserSessions(ctx, userID)`"""
    assert users.session.invalidate_user_sessions("ada") == 1
    assert users.session.get_session("s-ada") is None
    assert isinstance(users.session.get_session("s-bob"), SessionData)


def test_delete_keys_by_pattern(users: CacheManager) -> None:
    """`cacheManager.DeleteKeysByPattern(ctx, "seen:catalog:*")`"""
    assert users.delete_keys_by_pattern("seen:catalog:*") == 4
    assert (len(left(users, "ada")), len(left(users, "bob"))) == (3, 3)
    with pytest.raises(InvalidInputError, match="seen:"):
        users.delete_keys_by_pattern("*")


# ── TTLs ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "length"),
    [
        ("TTL_SESSION", timedelta(hours=24)),
        ("TTL_USER", timedelta(minutes=15)),
        ("TTL_CATALOG", timedelta(minutes=5)),
        ("TTL_DOWNLOAD", timedelta(seconds=30)),
        ("TTL_RATE_LIMIT", timedelta(minutes=1)),
        ("TTL_LOCK", timedelta(seconds=30)),
        ("TTL_SEARCH", timedelta(minutes=10)),
        ("TTL_RECOMMENDATION", timedelta(hours=1)),
    ],
)
def test_ttls(name: str, length: timedelta) -> None:
    """`TTLSession = 24 * time.Hour`, …"""
    assert getattr(cache, name) == length.total_seconds()


def test_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    """`SEEN_CACHE_ADDR=dragonfly:6379`, `SEEN_CACHE_PASSWORD=`, `SEEN_CACHE_DB=0`"""
    from settings import Settings

    monkeypatch.setenv("SEEN_CACHE_ADDR", "dragonfly:6379")
    monkeypatch.setenv("SEEN_CACHE_PASSWORD", "")
    monkeypatch.setenv("SEEN_CACHE_DB", "0")
    settings = Settings()
    assert (settings.cache_addr, settings.cache_db) == ("dragonfly:6379", 0)
    assert settings.cache_password.get_secret_value() == ""
