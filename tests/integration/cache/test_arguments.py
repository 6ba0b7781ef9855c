"""Wrong arguments, and keys of the wrong type: every method of the cache × each of them, on both sides.

| | what comes of it |
|---|---|
| an argument of a wrong type or size | InvalidInputError, before anything is sent |
| an id from outside that no key can have, read or deleted | as for an id without a value |
| a key of another type, read by the cache | StoreReplyError, but for `mget`; the key stays |
| a key of another type, for a rate limit | as `fail` says |
| a key of another type, one of many of an operation | logged once, and passed over |
| a key of another type, for anything else | StoreReplyError, or no difference (DEL, SET, EXISTS) |
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from redis import Redis

from cache import CacheManager, KeyBuilder, SessionData, UserInvalidation
from domain.errors import InvalidInputError, LockTakenError, SeenError, StoreReplyError
from tests.support.build import progress, update
from tests.support.inputs.hostile_arguments import ALL, METHODS, NOTHING, SESSION, Method

#: Not counted among the commands that a call sends.
_HOUSEKEEPING = {"info", "ping", "client", "auth", "select", "hello"}


def sent(client: Redis) -> int:
    """How many commands the server has had so far."""
    stats = client.info("commandstats")
    return sum(
        figures["calls"]
        for name, figures in stats.items()
        if name.removeprefix("cmdstat_").split("|")[0] not in _HOUSEKEEPING
    )


def outcome(call: Callable[[], Any]) -> Any:
    """What a call returns or raises."""
    try:
        return call()
    except Exception as error:
        return error


def is_nothing(answer: Any) -> bool:
    """Whether a call found and deleted nothing."""
    return answer == UserInvalidation(sessions=0, profile=0, catalogs=0, downloads=0) or not answer


def complaints(manager: CacheManager, client: Redis, name: str, method: Method) -> list[str]:
    """What is wrong about a method that is given each hostile value in each place."""
    found = []
    now = sent(client)
    for place in method.places():
        for what, value in ALL.items():
            before = now
            answer = outcome(partial(method.call, manager, place, value))
            now = sent(client)
            where = f"{name}, {place}: {what}"
            if isinstance(answer, InvalidInputError):
                if now != before and place not in method.anything:
                    found.append(f"{where}: refused, but something was sent")
                if not str(answer).endswith((".", "…")) and "\n" not in str(answer):
                    found.append(f"{where}: no sentence: {answer}")
            elif isinstance(answer, Exception) and not isinstance(answer, SeenError):
                found.append(f"{where}: {type(answer).__name__}: {str(answer)[:200]}")
            elif what in NOTHING and place in method.absent:
                if not is_nothing(answer) or now != before:
                    found.append(f"{where}: not as for an id without a value: {answer!r:.100}")
            elif what in NOTHING and place not in method.anything:
                found.append(f"{where}: taken, {answer!r:.100}")
    return found


@pytest.mark.parametrize("name", METHODS)
def test_wrong_arguments_are_refused_before_anything_is_sent(
    manager: CacheManager, client: Redis, name: str
) -> None:
    method = METHODS[name]
    assert not isinstance(outcome(lambda: method.call(manager)), Exception)
    assert complaints(manager, client, name, method) == []


def test_a_wrong_namespace_is_refused() -> None:
    for value in ALL.values():
        with pytest.raises(InvalidInputError):
            KeyBuilder(value)


def test_a_wrong_refresh_token_is_refused_and_not_shown() -> None:
    for value in (5, b"0123456789abcdef0123456789abcdef", "short"):
        with pytest.raises(InvalidInputError) as caught:
            SessionData.issue(
                session_id="s",
                user_id="u",
                expires_at=datetime.now(UTC) + timedelta(hours=1),
                refresh_token=value,  # type: ignore[arg-type]
            )
        assert "0123" not in str(caught.value)


def test_every_method_that_takes_arguments_is_listed(manager: CacheManager) -> None:
    """But for those that only run what other tests give them."""
    covered = {name.split(" ")[0] for name in METHODS}
    parts = {
        "service": manager.service, "session": manager.session, "catalog": manager.catalog,
        "download": manager.download, "limits": manager.limits, "beat": manager.beat,
        "keys": manager.keys, "": manager,
    }  # fmt: skip
    for part, owner in parts.items():
        target = getattr(owner, "_target", owner)
        for name in dir(target):
            if name.startswith("_") or not callable(getattr(target, name)):
                continue
            code = getattr(target, name)
            operation = getattr(type(target), name, code)
            function = getattr(operation, "flow", code)
            counted = getattr(function, "__code__", None)
            takes = counted is not None and counted.co_argcount + counted.co_kwonlyargcount > 1
            if takes and name not in {"connect", "connect_async"}:
                assert f"{part}.{name}".lstrip(".") in covered


# ── keys of the wrong type ──────────────────────────────────────────────────────────────────────

MAKE: dict[str, Callable[[Redis, str], object]] = {
    "string": lambda client, key: client.set(key, "no envelope, no number"),
    "list": lambda client, key: client.lpush(key, "x"),
    "set": lambda client, key: client.sadd(key, "x"),
    "hash": lambda client, key: client.hset(key, "x", "y"),
    "zset": lambda client, key: client.zadd(key, {"x": 1}),
    "stream": lambda client, key: client.xadd(key, {"x": "y"}),
}

READS: dict[str, tuple[str, Callable[[CacheManager], Any]]] = {
    "get": ("seen:x", lambda m: m.service.get("seen:x", int)),
    "get_or_load": ("seen:x", lambda m: m.service.get_or_load("seen:x", int, lambda: 7, 60)),
    "get_session": ("seen:session:s-1", lambda m: m.session.get_session("s-1")),
    "get_user": ("seen:user:ada", lambda m: m.session.get_user("ada")),
    "entry.get": ("seen:catalog:dashboard:ada", lambda m: m.catalog.dashboard("ada", int).get()),
    "entry.get_or_load": (
        "seen:catalog:dashboard:ada",
        lambda m: m.catalog.dashboard("ada", int).get_or_load(lambda: 8),
    ),
}


@pytest.mark.parametrize("kind", [kind for kind in MAKE if kind != "string"])
@pytest.mark.parametrize("name", READS)
def test_a_read_of_what_is_no_value_raises_our_own_error_and_leaves_it(
    manager: CacheManager, client: Redis, name: str, kind: str
) -> None:
    key, read = READS[name]
    MAKE[kind](client, key)
    with pytest.raises(StoreReplyError, match="WRONGTYPE"):
        read(manager)
    assert manager.service.mget([key], int) == {}
    assert client.type(key) == kind.encode()


@pytest.mark.parametrize("kind", MAKE)
def test_a_rate_limit_on_a_key_of_another_type_follows_fail(
    manager: CacheManager, client: Redis, kind: str
) -> None:
    MAKE[kind](client, "seen:ratelimit:ada:call")
    opened = manager.session.rate_limit_check("ada", "call", 5)
    closed = manager.session.rate_limit_check("ada", "call", 5, fail="closed")
    if kind != "list":  # which is what a limit is kept in
        assert (opened.allowed, opened.states) == (True, ())
        assert not closed.allowed
        assert closed.retry_after > 0


#: Every other operation: the key it works on, and the types that make no difference to it.
OPERATIONS: dict[str, tuple[str, Callable[[CacheManager], Any], set[str]]] = {
    "set": ("seen:x", lambda m: m.service.set("seen:x", 1, 60), set(MAKE)),
    "mset": ("seen:x", lambda m: m.service.mset({"seen:x": 1}, 60), set(MAKE)),
    "set_nx": ("seen:x", lambda m: m.service.set_nx("seen:x", 1, 60), set(MAKE)),
    "exists": ("seen:x", lambda m: m.service.exists("seen:x"), set(MAKE)),
    "expire": ("seen:x", lambda m: m.service.expire("seen:x", 60), set(MAKE)),
    "ttl": ("seen:x", lambda m: m.service.ttl("seen:x"), set(MAKE)),
    "delete": ("seen:x", lambda m: m.service.delete("seen:x"), set(MAKE)),
    "increment": ("seen:x", lambda m: m.service.increment("seen:x"), set()),
    "increment with a life": ("seen:x", lambda m: m.service.increment("seen:x", ttl=60), set()),
    "set_session": ("seen:session:s-1", lambda m: m.session.set_session(SESSION), set(MAKE)),
    "set_session's index": (
        "seen:user:ada:sessions",
        lambda m: m.session.set_session(SESSION),
        {"zset"},
    ),
    "touch": ("seen:session:s-1", lambda m: m.session.touch("s-1"), {"string"}),
    "delete_session": (
        "seen:session:s-1",
        lambda m: m.session.delete_session("s-1"),
        {"string"},
    ),
    "list_sessions": (
        "seen:user:ada:sessions",
        lambda m: m.session.list_sessions("ada"),
        {"zset"},
    ),
    "invalidate_user_sessions": (
        "seen:user:ada:sessions",
        lambda m: m.session.invalidate_user_sessions("ada"),
        {"zset"},
    ),
    "acquire_lock": ("seen:lock:x", lambda m: m.session.acquire_lock("x"), {"string"}),
    "extend_lock": ("seen:lock:x", lambda m: m.session.extend_lock("x", "t"), {"string"}),
    "release_lock": ("seen:lock:x", lambda m: m.session.release_lock("x", "t"), {"string"}),
    "Lock.acquire": ("seen:lock:x", lambda m: m.lock("x").acquire(), {"string"}),
    "invalidate_title": (
        "seen:catalog:title:t-1",
        lambda m: m.catalog.invalidate_title("t-1"),
        {"zset"},
    ),
    "entry.set": (
        "seen:catalog:title:t-1",
        lambda m: m.catalog.dashboard("ada", int).set(1, titles=["t-1"]),
        {"zset"},
    ),
    "set_progress": (
        "seen:download:job:job-1",
        lambda m: m.download.set_progress(progress()),
        {"hash"},
    ),
    "apply": ("seen:download:job:job-1", lambda m: m.download.apply([update()]), {"hash"}),
    "apply, listening": (
        "seen:download:job:job-1",
        lambda m: m.download.apply([], [("job-1", 1)]),
        {"hash"},
    ),
    "apply's index": ("seen:download:active", lambda m: m.download.apply([update()]), {"zset"}),
    "increment_downloaded_bytes": (
        "seen:download:job:job-1",
        lambda m: m.download.increment_downloaded_bytes("job-1", 1),
        {"hash"},
    ),
    "set_download_speed": (
        "seen:download:job:job-1",
        lambda m: m.download.set_download_speed("job-1", 1),
        {"hash"},
    ),
    "request_control": (
        "seen:download:job:job-1",
        lambda m: m.download.request_control("job-1", "pause", 1),
        {"hash"},
    ),
    "withdraw_control": (
        "seen:download:job:job-1",
        lambda m: m.download.withdraw_control([("job-1", 1)]),
        {"hash"},
    ),
    "get_progress": (
        "seen:download:job:job-1",
        lambda m: m.download.get_progress("job-1"),
        {"hash"},
    ),
    "get_active_downloads": (
        "seen:download:active",
        lambda m: m.download.get_active_downloads(),
        {"zset"},
    ),
    "active_updates": (
        "seen:download:active",
        lambda m: m.download.active_updates(),
        {"zset"},
    ),
    "page_active_downloads": (
        "seen:download:active",
        lambda m: m.download.page_active_downloads(),
        {"zset"},
    ),
    "get_user_downloads": (
        "seen:user:ada:downloads",
        lambda m: m.download.get_user_downloads("ada"),
        {"zset"},
    ),
    "invalidate_user_downloads": (
        "seen:user:ada:downloads",
        lambda m: m.download.invalidate_user_downloads("ada"),
        {"zset"},
    ),
    "totals": ("seen:download:active", lambda m: m.download.totals(), {"zset"}),
    "totals' rate": ("seen:download:rate", lambda m: m.download.totals(), {"hash"}),
    "dirty": ("seen:download:dirty", lambda m: m.download.dirty(), {"zset"}),
    "mark_persisted": (
        "seen:download:dirty",
        lambda m: m.download.mark_persisted([("job-1", 1)]),
        {"zset"},
    ),
    "cleanup_stale_progress": (
        "seen:download:active",
        lambda m: m.download.cleanup_stale_progress(60),
        {"zset"},
    ),
    "take_slots": (
        "seen:slots:downloads:a",
        lambda m: m.limits.take_slots("downloads:a", "job-1", 1, 2),
        set(),
    ),
    "renew_slots": (
        "seen:slots:downloads:a",
        lambda m: m.limits.renew_slots([("downloads:a", "job-1")]),
        {"hash"},
    ),
    "release_slots": (
        "seen:slots:downloads:a",
        lambda m: m.limits.release_slots([("downloads:a", "job-1")]),
        {"hash"},
    ),
    "keep_place": (
        "seen:slots:downloads:a",
        lambda m: m.limits.keep_place("downloads:a", "job-1", 60),
        {"hash"},
    ),
    "cooldown": ("seen:cooldown:a", lambda m: m.limits.cooldown("a"), {"string"}),
    "end_cooldown": ("seen:cooldown:a", lambda m: m.limits.end_cooldown("a"), set(MAKE)),
    "most_downloads": ("seen:limits", lambda m: m.limits.most_downloads(), {"hash"}),
    "rates": ("seen:limits", lambda m: m.limits.rates(), {"hash"}),
    "beat.tick": ("seen:beat", lambda m: m.beat.tick("host:1"), {"hash"}),
    "held_download_locks": (
        "seen:lock:download:job-1",
        lambda m: m.held_download_locks(["job-1"]),
        set(MAKE),
    ),
}


#: Operations that pass over a key of another type and answer for the others.
MANY_KEYS = {
    "apply",
    "apply, listening",
    "apply's index",
    "take_slots",  # an entry that cannot be read is removed
    "get_progress",
    "get_many",
    "get_active_downloads",
    "page_active_downloads",
    "get_user_downloads",
    "cleanup_stale_progress",
    "renew_slots",
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_on_a_key_of_another_type_raises_our_own_error(
    manager: CacheManager, client: Redis, name: str
) -> None:
    key, use, harmless = OPERATIONS[name]
    wrong = []
    for kind, make in MAKE.items():
        client.flushdb()
        make(client, key)
        answer = outcome(lambda: use(manager))
        if kind in harmless:
            if isinstance(answer, Exception):
                wrong.append(f"{kind}: {answer!r}")
        elif name in MANY_KEYS and not isinstance(answer, Exception):
            continue  # logged, and passed over, so that one key does not stop the others
        elif not isinstance(answer, StoreReplyError) or "seen:" not in str(answer):
            wrong.append(f"{kind}: {answer!r}")
    assert wrong == []
    client.flushdb()


def test_a_block_whose_lock_turned_into_something_else_has_lost_it(
    manager: CacheManager, client: Redis
) -> None:
    held = manager.session.lock("x", ttl=0.9)
    MAKE["list"](client, "seen:lock:x")
    with pytest.raises((StoreReplyError, LockTakenError)):
        held.__enter__()


def test_an_error_about_a_session_does_not_show_its_id(
    manager: CacheManager, client: Redis
) -> None:
    MAKE["list"](client, "seen:session:secret-id")
    with pytest.raises(StoreReplyError, match="seen:session:#") as caught:
        manager.session.touch("secret-id")
    assert "secret-id" not in str(caught.value)
