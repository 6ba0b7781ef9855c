"""Sessions that change their user: each user's list has what is theirs, whatever happens at once."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from cache import CacheManager
from tests.support.build import Connect, login
from tests.support.servers.tcp_proxy import Proxy
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until

USERS = ("ada", "bob", "eve")


def index_of(manager: CacheManager, user_id: str) -> set[str]:
    index = manager.client.zscan_iter(f"seen:user:{user_id}:sessions")
    return {member.decode() for member, _ in index}


def listed(manager: CacheManager, user_id: str) -> list[str]:
    sessions = manager.session.list_sessions(user_id)
    assert len(manager.session.list_sessions(user_id)) == len(sessions)
    assert {session.user_id for session in sessions} <= {user_id}
    return [session.session_id for session in sessions]


def take_over(manager: CacheManager) -> None:
    """Have one session change from Ada to Bob."""
    manager.session.set_session(login("s-1"))
    manager.session.set_session(login("s-1", user_id="bob"))


def test_a_session_that_changes_its_user_leaves_the_former_users_list(
    manager: CacheManager,
) -> None:
    take_over(manager)
    assert (listed(manager, "ada"), listed(manager, "bob")) == ([], ["s-1"])
    assert (index_of(manager, "ada"), index_of(manager, "bob")) == (set(), {"s-1"})


#: What may be done to a session of Bob's that was Ada's, and the lists of Ada and Bob afterwards.
AFTERWARDS: dict[str, tuple[Callable[[CacheManager], object], list[str], list[str]]] = {
    "touch": (lambda m: m.session.touch("s-1"), [], ["s-1"]),
    "touch to a later end": (
        lambda m: m.session.touch("s-1", expires_at=datetime.now(UTC) + timedelta(hours=9)),
        [],
        ["s-1"],
    ),
    "delete": (lambda m: m.session.delete_session("s-1"), [], []),
    "deletion past us": (lambda m: m.client.delete("seen:session:s-1"), [], []),
    "invalidation of the former user": (
        lambda m: m.session.invalidate_user_sessions("ada"),
        [],
        ["s-1"],
    ),
    "everything of the former user": (lambda m: m.invalidate_user("ada"), [], ["s-1"]),
    "invalidation of the user": (lambda m: m.session.invalidate_user_sessions("bob"), [], []),
    "back to the former user": (lambda m: m.session.set_session(login("s-1")), ["s-1"], []),
}


@pytest.mark.parametrize("stale", [False, True], ids=["clean index", "stale index"])
@pytest.mark.parametrize("name", AFTERWARDS)
def test_both_lists_are_right_after(manager: CacheManager, name: str, stale: bool) -> None:
    take_over(manager)
    if stale:  # as an older version of this service leaves it
        end = int(datetime.now(UTC).timestamp() * 1000) + 3_600_000
        manager.client.zadd("seen:user:ada:sessions", {"s-1": end})
    do, adas, bobs = AFTERWARDS[name]
    do(manager)
    assert (listed(manager, "ada"), listed(manager, "bob")) == (adas, bobs)


def test_invalidation_of_the_former_user_counts_nothing(manager: CacheManager) -> None:
    take_over(manager)
    assert manager.session.invalidate_user_sessions("ada") == 0
    assert manager.session.get_session("s-1") is not None


def test_a_session_that_expired_is_in_no_list(manager: CacheManager) -> None:
    manager.session.set_session(login("s-1"))
    manager.session.set_session(login("s-1", user_id="bob", left=0.05))
    wait_until(lambda: not manager.client.exists("seen:session:s-1"))
    assert (listed(manager, "ada"), listed(manager, "bob")) == ([], [])


def test_a_user_that_changes_between_reading_and_writing_is_right(
    store: StoreServer, connect: Connect
) -> None:
    """The index may keep a name then; the list does not show it."""
    with (
        Proxy(store.port) as proxy,
        connect(store, cache_addr=proxy.addr) as manager,
        connect(store) as other,
    ):
        manager.session.set_session(login("s-1"))
        proxy.before(b"MULTI", lambda: other.session.set_session(login("s-1", user_id="eve")))
        manager.session.set_session(login("s-1", user_id="bob"))
        assert proxy.idle
        assert {user: listed(manager, user) for user in USERS} == {
            "ada": [],
            "bob": ["s-1"],
            "eve": [],
        }
        assert manager.session.invalidate_user_sessions("eve") == 0
        assert manager.session.get_session("s-1") is not None


def test_lists_are_right_after_threads_have_fought_for_users(
    store: StoreServer, connect: Connect
) -> None:
    with connect(store) as manager:
        names = [f"s-{number}" for number in range(4)]

        def fight(seed: int) -> None:
            dice = random.Random(seed)
            for _ in range(60):
                name, user = dice.choice(names), dice.choice(USERS)
                match dice.randrange(6):
                    case 0:
                        manager.session.delete_session(name)
                    case 1:
                        manager.session.touch(name)
                    case 2:
                        manager.session.invalidate_user_sessions(user)
                    case _:
                        manager.session.set_session(login(name, user_id=user))

        threads = [threading.Thread(target=fight, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        sessions = [manager.session.get_session(name) for name in names]
        for user in USERS:
            theirs = {one.session_id for one in sessions if one and one.user_id == user}
            assert set(listed(manager, user)) == theirs
            assert theirs <= index_of(manager, user)
