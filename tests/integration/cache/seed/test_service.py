"""Cache service: values, counters, batches; key builder."""

from __future__ import annotations

from datetime import timedelta

import pytest
from pydantic import BaseModel

from cache import CacheManager, CacheService, KeyBuilder


class MyType(BaseModel):
    name: str
    size: int = 0


DATA = MyType(name="film", size=3)


@pytest.fixture
def service(manager: CacheManager) -> CacheService:
    """`service := manager.Service()`"""
    return manager.service


def test_service_set(service: CacheService) -> None:
    """`service.Set(ctx, "key", data, 5*time.Minute)`"""
    assert service.set("key", DATA, timedelta(minutes=5)) is True
    assert service.set("key", DATA, 300) is True
    left = service.ttl("key")
    assert left is not None
    assert 290 < left <= 300


def test_service_get(service: CacheService) -> None:
    """`var result MyType; service.Get(ctx, "key", &result)`"""
    assert service.get("key", MyType) is None
    service.set("key", DATA, timedelta(minutes=5))
    assert service.get("key", MyType) == DATA


def test_service_delete(service: CacheService) -> None:
    """`service.Delete(ctx, "key1", "key2")`"""
    service.mset({"key1": 1, "key2": 2, "key3": 3}, 60)
    assert service.delete("key1", "key2") == 2
    assert service.mget(["key1", "key2", "key3"], int) == {"key3": 3}


def test_service_increment(service: CacheService) -> None:
    """`service.Increment(ctx, "counter")`; "Always set TTLs - Prevent memory leaks"."""
    assert [service.increment("counter") for _ in range(3)] == [1, 2, 3]
    left = service.ttl("counter")
    assert left is not None
    assert 30 < left <= 60


def test_service_set_nx(service: CacheService) -> None:
    """`service.SetNX(ctx, "lock:resource", "owner", 30*time.Second)`"""
    assert service.set_nx("lock:resource", "owner", timedelta(seconds=30)) is True
    assert service.set_nx("lock:resource", "other", timedelta(seconds=30)) is False
    assert service.get("lock:resource", str) == "owner"
    left = service.ttl("lock:resource")
    assert left is not None
    assert 20 < left <= 30


def test_service_mset_and_mget(service: CacheService) -> None:
    """ "Use MSet and MGet for multiple keys"."""
    assert service.mset({"a": DATA, "b": MyType(name="other")}, timedelta(minutes=1))
    assert service.mget(["a", "b", "none"], MyType) == {"a": DATA, "b": MyType(name="other")}


def test_service_exists_and_expire(service: CacheService) -> None:
    service.set("key", DATA, 60)
    assert service.exists("key")
    assert service.expire("key", timedelta(hours=1))
    left = service.ttl("key")
    assert left is not None
    assert 3500 < left <= 3600


def test_compress_large_values(service: CacheService, manager: CacheManager) -> None:
    """ "Use compression - For large objects, compress before caching"."""
    service.set("key", "film " * 10_000, 60)
    assert len(manager.client.get("key") or b"") < 1000
    assert service.get("key", str) == "film " * 10_000


@pytest.mark.parametrize(
    ("method", "identifier", "key"),
    [
        ("session_key", "session-123", "seen:session:session-123"),
        ("user_key", "user-456", "seen:user:user-456"),
        ("catalog_dashboard_key", "user-456", "seen:catalog:dashboard:user-456"),
        ("download_job_key", "job-123", "seen:download:job:job-123"),
    ],
)
def test_key_builder(manager: CacheManager, method: str, identifier: str, key: str) -> None:
    """`kb := cache.NewKeyBuilder("seen")`, `kb.SessionKey("session-123")`, …"""
    assert getattr(KeyBuilder("seen"), method)(identifier) == key
    assert getattr(manager.keys, method)(identifier) == key
