"""Session cache: sessions, users, rate limits, locks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from cache import CacheManager, SessionCache, SessionData, UserData
from tests.support.build import Connect
from tests.support.stores.server import StoreServer


@pytest.fixture
def session_cache(manager: CacheManager) -> SessionCache:
    """`sessionCache := manager.Session()`"""
    return manager.session


def session() -> SessionData:
    return SessionData(
        session_id="session-123",
        user_id="user-456",
        refresh_token="token",
        expires_at=datetime.now(UTC) + timedelta(hours=24),
    )


def test_session_set_session(manager: CacheManager) -> None:
    """`sessionCache.SetSession(ctx, cache.SessionData{… RefreshToken: "token" …})`"""
    assert manager.session.set_session(session()) is True
    stored = manager.client.get("seen:session:session-123") or b""
    assert b"user-456" in stored
    assert b'"token"' not in stored
    assert 86_000_000 < manager.client.pttl("seen:session:session-123") <= 86_400_000


def test_session_get_session(session_cache: SessionCache) -> None:
    """`sessionCache.GetSession(ctx, "session-123")`"""
    given = session()
    session_cache.set_session(given)
    found = session_cache.get_session("session-123")
    assert found == given
    assert found.accepts("token")
    assert not found.accepts("another")
    assert session_cache.get_session("session-124") is None


def test_session_set_user(session_cache: SessionCache, manager: CacheManager) -> None:
    """`sessionCache.SetUser(ctx, cache.UserData{ID, Email, DisplayName, Role})`"""
    user = UserData(id="user-456", email="user@example.com", display_name="User Name", role="user")
    assert session_cache.set_user(user) is True
    assert session_cache.get_user("user-456") == user
    assert 890_000 < manager.client.pttl("seen:user:user-456") <= 900_000


def test_session_rate_limit_check(session_cache: SessionCache) -> None:
    """`sessionCache.RateLimitCheck(ctx, "user-456", "api-call", 100, time.Minute)`"""
    window = timedelta(minutes=1)
    allowed = [
        bool(session_cache.rate_limit_check("user-456", "api-call", 100, window))
        for _ in range(101)
    ]
    assert allowed == [True] * 100 + [False]
    assert session_cache.rate_limit_check("user-457", "api-call", 100, window)


def test_rate_limit_refuses_on_error(private_store: StoreServer, connect: Connect) -> None:
    """`if err != nil || !allowed { c.JSON(http.StatusTooManyRequests, …) }`"""
    with connect(private_store, cache_timeout=0.5) as manager:
        check = manager.session.rate_limit_check
        assert check("user-456", "api-request", 100, timedelta(minutes=1), fail="closed")
        private_store.kill()
        assert not check("user-456", "api-request", 100, timedelta(minutes=1), fail="closed")


def test_session_acquire_lock(session_cache: SessionCache, manager: CacheManager) -> None:
    """`lockID, acquired, err := sessionCache.AcquireLock(ctx, "resource", 30*time.Second)`"""
    lock_id, acquired = session_cache.acquire_lock("resource", timedelta(seconds=30))
    assert acquired is True
    assert manager.client.get("seen:lock:resource") == lock_id.encode()
    assert 20_000 < manager.client.pttl("seen:lock:resource") <= 30_000
    other_id, acquired = session_cache.acquire_lock("resource", timedelta(seconds=30))
    assert acquired is False
    assert other_id != lock_id


def test_session_release_lock(session_cache: SessionCache) -> None:
    """`defer sessionCache.ReleaseLock(ctx, "resource", lockID)`"""
    lock_id, _ = session_cache.acquire_lock("resource", timedelta(seconds=30))
    assert session_cache.release_lock("resource", "another") is False
    assert session_cache.release_lock("resource", lock_id) is True
    assert session_cache.acquire_lock("resource").acquired
