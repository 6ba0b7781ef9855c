"""Sessions and users: how long they live, whose they are, and how all of them are forgotten at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from cache import CacheManager, SessionCache, SessionData, UserData
from cache.platform import codec
from domain.errors import InvalidInputError, StoreUnavailableError
from tests.support.build import Connect, login
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until

TOKEN = "a-refresh-token-of-enough-length"
INDEX = "seen:user:ada:sessions"
USER = UserData(id="ada", email="ada@example.com", display_name="Ada", role="admin")


@pytest.fixture
def sessions(manager: CacheManager) -> SessionCache:
    return manager.session


def ids(sessions: list[SessionData]) -> list[str]:
    return [session.session_id for session in sessions]


def listed(manager: CacheManager) -> set[bytes]:
    """The ids that the index of Ada's sessions has."""
    return {member for member, _ in manager.client.zscan_iter(INDEX)}


# ── one session ─────────────────────────────────────────────────────────────────────────────────


def test_a_session_comes_back_as_it_was(sessions: SessionCache) -> None:
    given = SessionData.issue(
        session_id="s-1",
        user_id="ada",
        expires_at=datetime.now(UTC) + timedelta(hours=1),
        created_at=datetime.now(UTC),
        refresh_token=TOKEN,
        client="Firefox on a train",
    )
    assert sessions.set_session(given)
    assert sessions.get_session("s-1") == given
    assert sessions.get_session("s-2") is None


@pytest.mark.parametrize(("left", "life"), [(3600, 3600), (90 * 86400, 24 * 3600)])
def test_a_session_lives_until_it_expires_or_for_a_day(
    sessions: SessionCache, manager: CacheManager, left: float, life: float
) -> None:
    sessions.set_session(login(left=left))
    for key in ("seen:session:s-1", INDEX):
        assert (life - 30) * 1000 < manager.client.pttl(key) <= life * 1000


def test_an_expired_session_is_refused_and_nothing_is_written(
    sessions: SessionCache, manager: CacheManager
) -> None:
    with pytest.raises(InvalidInputError, match="expires_at"):
        sessions.set_session(login(left=-1))
    assert manager.client.dbsize() == 0


def test_an_expired_session_is_never_returned_whatever_its_life(
    sessions: SessionCache, manager: CacheManager
) -> None:
    sessions.set_session(login("good"))
    manager.client.set("seen:session:s-1", codec.encode(login(left=-1)), px=3_600_000)
    manager.client.zadd(INDEX, {"s-1": 2**50})
    assert sessions.get_session("s-1") is None
    assert sessions.touch("s-1") is False
    assert ids(sessions.list_sessions("ada")) == ["good"]


def test_a_session_that_expires_is_gone(sessions: SessionCache) -> None:
    sessions.set_session(login(left=0.1))
    wait_until(lambda: sessions.get_session("s-1") is None, what="the end of the session")
    wait_until(lambda: len(sessions.list_sessions("ada")) == 0)


def test_a_deleted_session_is_gone(sessions: SessionCache, manager: CacheManager) -> None:
    sessions.set_session(login())
    assert sessions.delete_session("s-1") is True
    assert sessions.get_session("s-1") is None
    assert sessions.delete_session("s-1") is False
    assert manager.client.dbsize() == 0


# ── touching ────────────────────────────────────────────────────────────────────────────────────


def test_a_touch_gives_a_session_its_full_life_again(
    sessions: SessionCache, manager: CacheManager
) -> None:
    sessions.set_session(login(left=90 * 86400))
    for key in ("seen:session:s-1", INDEX):
        manager.client.pexpire(key, 5_000)
    manager.client.zadd(INDEX, {"s-1": 1})
    assert sessions.touch("s-1") is True
    for key in ("seen:session:s-1", INDEX):
        assert manager.client.pttl(key) > 86_000_000
    end = manager.client.zscore(INDEX, "s-1")
    assert end is not None
    assert end > (datetime.now(UTC).timestamp() + 86_000) * 1000


def test_a_touch_may_move_the_end_of_a_session(
    sessions: SessionCache, manager: CacheManager
) -> None:
    sessions.set_session(login(left=60, client="Safari"))
    later = datetime.now(UTC) + timedelta(hours=2)
    assert sessions.touch("s-1", expires_at=later)
    found = sessions.get_session("s-1")
    assert found is not None
    assert (found.expires_at, found.client) == (later, "Safari")
    assert manager.client.pttl("seen:session:s-1") > 7_000_000
    with pytest.raises(InvalidInputError, match="expires_at"):
        sessions.touch("s-1", expires_at=datetime.now(UTC) - timedelta(seconds=1))
    assert sessions.get_session("s-1") == found


def test_a_touch_of_nothing_makes_nothing(sessions: SessionCache, manager: CacheManager) -> None:
    assert sessions.touch("s-1") is False
    assert sessions.touch("s-1", expires_at=datetime.now(UTC) + timedelta(hours=1)) is False
    assert manager.client.dbsize() == 0


# ── a user's sessions ───────────────────────────────────────────────────────────────────────────


def test_the_one_that_expires_last_comes_first(sessions: SessionCache) -> None:
    for name, left in {"middle": 200, "last": 300, "first": 100}.items():
        sessions.set_session(login(name, left=left))
    sessions.set_session(login("of-bob", user_id="bob"))
    assert ids(sessions.list_sessions("ada")) == ["last", "middle", "first"]
    assert len(sessions.list_sessions("ada")) == 3
    assert ids(sessions.list_sessions("bob")) == ["of-bob"]
    assert (sessions.list_sessions("eve"), len(sessions.list_sessions("eve"))) == ([], 0)


def test_a_session_that_cannot_be_read_does_not_hide_the_others(
    sessions: SessionCache, manager: CacheManager
) -> None:
    for name in ("s-1", "s-2"):
        sessions.set_session(login(name))
    manager.client.set("seen:session:s-1", b"nonsense")
    assert ids(sessions.list_sessions("ada")) == ["s-2"]


def test_the_index_sheds_what_has_expired_by_itself(
    sessions: SessionCache, manager: CacheManager
) -> None:
    sessions.set_session(login("short", left=0.05))
    sessions.set_session(login("long"))
    wait_until(lambda: not manager.client.exists("seen:session:short"))
    sessions.set_session(login("new"))
    assert listed(manager) == {b"long", b"new"}


def test_the_index_outlives_its_longest_session(
    sessions: SessionCache, manager: CacheManager
) -> None:
    sessions.set_session(login("long", left=5000))
    sessions.set_session(login("short", left=50))
    assert manager.client.pttl(INDEX) > 4_900_000
    sessions.delete_session("long")
    sessions.delete_session("short")
    assert not manager.client.exists(INDEX)


# ── forgetting all of them ──────────────────────────────────────────────────────────────────────


def test_all_sessions_of_a_user_are_forgotten(
    sessions: SessionCache, manager: CacheManager
) -> None:
    for name in ("s-1", "s-2", "s-3"):
        sessions.set_session(login(name))
    sessions.set_session(login("of-bob", user_id="bob"))
    assert sessions.invalidate_user_sessions("ada") == 3
    assert [sessions.get_session(name) for name in ("s-1", "s-2", "s-3")] == [None] * 3
    assert sessions.get_session("of-bob") is not None
    assert sessions.invalidate_user_sessions("ada") == 0
    assert not manager.client.exists(INDEX)


def test_all_but_one_are_forgotten(sessions: SessionCache, manager: CacheManager) -> None:
    for name in ("s-1", "s-2", "s-3"):
        sessions.set_session(login(name))
    assert sessions.invalidate_user_sessions("ada", keep="s-2") == 2
    assert ids(sessions.list_sessions("ada")) == ["s-2"]
    assert listed(manager) == {b"s-2"}
    assert sessions.invalidate_user_sessions("ada", keep="s-2") == 0


def test_very_many_sessions_are_forgotten_in_steps(
    sessions: SessionCache, manager: CacheManager
) -> None:
    names = [f"s-{number}" for number in range(1200)]
    manager.client.mset({f"seen:session:{name}": codec.encode(login(name)) for name in names})
    manager.client.zadd(INDEX, dict.fromkeys(names, 2**50))
    assert sessions.invalidate_user_sessions("ada", keep="s-0") == 1199
    assert ids(sessions.list_sessions("ada")) == ["s-0"]


def test_a_server_that_forgot_the_scripts_is_not_noticed(
    sessions: SessionCache, manager: CacheManager
) -> None:
    manager.client.script_flush()
    assert sessions.set_session(login())
    manager.client.script_flush()
    assert sessions.touch("s-1")
    assert listed(manager) == {b"s-1"}


# ── users ───────────────────────────────────────────────────────────────────────────────────────


def test_a_user_comes_back_and_lives_a_quarter_of_an_hour(
    sessions: SessionCache, manager: CacheManager
) -> None:
    assert sessions.set_user(USER)
    assert sessions.get_user("ada") == USER
    assert sessions.get_user("bob") is None
    assert 890_000 < manager.client.pttl("seen:user:ada") <= 900_000
    assert sessions.invalidate_user("ada") is True
    assert sessions.invalidate_user("ada") is False
    assert sessions.get_user("ada") is None


def test_a_user_and_their_sessions_do_not_meet(sessions: SessionCache) -> None:
    sessions.set_user(USER)
    sessions.set_session(login())
    assert sessions.invalidate_user("ada")
    assert ids(sessions.list_sessions("ada")) == ["s-1"]
    sessions.set_user(USER)
    sessions.invalidate_user_sessions("ada")
    assert sessions.get_user("ada") == USER


def test_forgetting_without_a_store_does_not_look_like_done(
    private_store: StoreServer, connect: Connect
) -> None:
    with connect(private_store) as manager:
        manager.session.set_session(login())
        private_store.kill()
        with pytest.raises(StoreUnavailableError):
            manager.session.invalidate_user_sessions("ada")


def test_touching_a_session_keeps_the_fields_of_a_newer_version(
    sessions: SessionCache, manager: CacheManager
) -> None:
    given = login()
    newer = given.model_dump_json().replace("{", '{"newer_field":1,', 1).encode()
    manager.client.set("seen:session:s-1", newer, px=5000)
    assert sessions.get_session("s-1") == given
    assert sessions.touch("s-1")
    assert manager.client.get("seen:session:s-1") == newer
    assert manager.client.pttl("seen:session:s-1") > 3_000_000
