"""Sessions that change at the same moment, and changes that are cut off in the middle.

Whatever happens, no session may be in the store that the index of its user does not list: no
invalidation would ever find it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from cache import CacheManager, SessionCache, SessionData
from domain.errors import StoreUnavailableError
from tests.support.build import Connect, login
from tests.support.servers.tcp_proxy import Proxy
from tests.support.stores.server import StoreServer

INDEX = "seen:user:ada:sessions"


def ids(sessions: list[SessionData]) -> list[str]:
    return [session.session_id for session in sessions]


def listed(manager: CacheManager) -> set[bytes]:
    return {member for member, _ in manager.client.zscan_iter(INDEX)}


def cut_from(proxy: Proxy, number: int) -> None:
    """Have the line break after this request and each later one; the server runs them."""
    for _ in range(number - 1):
        proxy.before(b"", lambda: None)
    for _ in range(8):
        proxy.cut_after_request()


def test_a_touch_cannot_bring_a_deleted_session_back(store: StoreServer, connect: Connect) -> None:
    with Proxy(store.port) as proxy, connect(store, cache_addr=proxy.addr) as manager:
        manager.session.set_session(login())
        # After the touch has read the session, and before it writes it.
        proxy.before(b"EVAL", lambda: manager.client.unlink("seen:session:s-1"))
        assert manager.session.touch("s-1") is False
        assert proxy.idle
        assert not manager.client.exists("seen:session:s-1")
        assert manager.session.list_sessions("ada") == []


def test_a_touch_does_not_undo_a_change_of_the_same_moment(
    store: StoreServer, connect: Connect
) -> None:
    with (
        Proxy(store.port) as proxy,
        connect(store, cache_addr=proxy.addr) as manager,
        connect(store) as other,
    ):
        manager.session.set_session(login(client="old"))
        changed = login(client="new", refresh_token_sha256="0" * 64)
        proxy.before(b"EVAL", lambda: other.session.set_session(changed))
        later = datetime.now(UTC) + timedelta(hours=2)
        assert manager.session.touch("s-1", expires_at=later) is True
        assert proxy.idle
        assert manager.session.get_session("s-1") == changed.model_copy(
            update={"expires_at": later}
        )


def test_a_session_that_begins_meanwhile_stays(store: StoreServer, connect: Connect) -> None:
    with (
        Proxy(store.port) as proxy,
        connect(store, cache_addr=proxy.addr) as manager,
        connect(store) as other,
    ):
        manager.session.set_session(login("old"))
        proxy.before(b"UNLINK", lambda: other.session.set_session(login("new")))
        assert manager.session.invalidate_user_sessions("ada") == 1
        assert proxy.idle
        assert ids(manager.session.list_sessions("ada")) == ["new"]
        assert listed(manager) == {b"new"}


Forget = Callable[[SessionCache], object]


@pytest.mark.parametrize(
    "forget",
    [lambda s: s.delete_session("s-1"), lambda s: s.invalidate_user_sessions("ada")],
    ids=["delete", "invalidate"],
)
def test_a_session_that_is_set_again_is_either_gone_or_listed(
    store: StoreServer, connect: Connect, forget: Forget
) -> None:
    """It would survive every later invalidation otherwise."""
    for word in (b"GET", b"ZREVRANGE", b"UNLINK", b"ZREM"):
        with (
            Proxy(store.port) as proxy,
            connect(store, cache_addr=proxy.addr) as manager,
            connect(store) as other,
        ):
            manager.session.set_session(login())
            proxy.before(word, partial(other.session.set_session, login()))
            forget(manager.session)
            assert (manager.session.get_session("s-1") is None) or listed(manager) == {b"s-1"}
            manager.session.invalidate_user_sessions("ada")
            assert manager.session.get_session("s-1") is None


@pytest.mark.parametrize("lost", range(1, 4))
def test_a_login_cut_off_leaves_no_session_that_nothing_would_find(
    store: StoreServer, connect: Connect, lost: int
) -> None:
    with Proxy(store.port) as proxy, connect(store, cache_addr=proxy.addr) as manager:
        manager.session.get_session("s-1")  # it is connected from here on
        manager.client.script_flush()
        cut_from(proxy, lost)
        manager.session.set_session(login())
    with connect(store) as manager:
        assert manager.session.get_session("s-1") is None or listed(manager) == {b"s-1"}


@pytest.mark.parametrize("lost", range(1, 4))
def test_a_touch_cut_off_leaves_no_session_that_outlives_its_listing(
    store: StoreServer, connect: Connect, lost: int
) -> None:
    with Proxy(store.port) as proxy, connect(store, cache_addr=proxy.addr) as manager:
        manager.session.set_session(login(left=90 * 86400))
        # As if it had been set almost a day ago.
        manager.client.pexpire("seen:session:s-1", 60_000)
        manager.client.zadd(INDEX, {"s-1": (datetime.now(UTC).timestamp() + 60) * 1000})
        cut_from(proxy, lost)
        with contextlib.suppress(StoreUnavailableError):
            manager.session.touch("s-1")
    with connect(store) as manager:
        assert listed_to_the_end(manager)


def test_a_touch_that_comes_too_late_does_not_shorten_the_listing(
    store: StoreServer, connect: Connect
) -> None:
    with (
        Proxy(store.port) as proxy,
        connect(store, cache_addr=proxy.addr) as manager,
        connect(store) as other,
    ):
        manager.session.set_session(login())

        def meanwhile() -> None:
            other.session.set_session(login(client="new"))
            cut_from(proxy, 1)

        proxy.before(b"EVAL", meanwhile)
        sooner = datetime.now(UTC) + timedelta(seconds=60)
        with pytest.raises(StoreUnavailableError):
            manager.session.touch("s-1", expires_at=sooner)
        assert other.session.get_session("s-1") is not None
        assert listed_to_the_end(other)


def listed_to_the_end(manager: CacheManager) -> bool:
    """Whether the index lists the session for as long as it is there."""
    left_ms, score = manager.client.pttl("seen:session:s-1"), manager.client.zscore(INDEX, "s-1")
    seconds, _ = manager.client.time()
    return score is not None and score > seconds * 1000 + left_ms - 1000
