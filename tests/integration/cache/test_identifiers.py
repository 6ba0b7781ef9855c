"""Identifiers that come from strangers: every method × hostile values, each with its verdict.

| verdict | of | what comes of it |
|---|---|---|
| miss | reads, deletions and changes of what an id has | as for an id without a value; nothing is sent |
| refuse | what would store something under an id; locks | InvalidInputError; nothing is sent |
| accept | texts of a search or page, of a rate limit, and cursors | works as with any other text |

What is no text at all is a miss, too, where a text would be; elsewhere it is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redis import Redis

from cache import CacheManager, UserData, UserInvalidation
from domain.errors import InvalidInputError
from tests.support.build import login, progress
from tests.support.stores.commands import commands, commands_since

Use = Callable[[CacheManager, Any], Any]

#: Texts that no key can have as an id, and what is no text.
UNUSABLE: dict[str, Any] = {
    "empty": "",
    "513 bytes": "x" * 513,
    "513 bytes of another script": "ß" * 257,
    "1 MB": "x" * 1_000_000,
    "a lone surrogate": "\ud800",
    "a cookie that is not UTF-8": b"\xff\xfe".decode(errors="surrogateescape"),
}
NO_TEXT: dict[str, Any] = {
    "None": None,
    "bytes": b"s-1",
    "a number": 5,
    "a list": ["s-1"],
    "a dict": {},
    "True": True,
}
#: Texts that a key can have: nothing is special about them.
ODD: dict[str, str] = {
    "NUL": "\0",
    "white space": " \t\n",
    "a glob": "*",
    "colons": "::",
    "a newline": "a\r\nFLUSHALL\r\n",
    "512 bytes": "x" * 512,
    "another script": "ﷺ٣",
    "the digest's form": "sha256=" + "0" * 64,
}

MISS: dict[str, tuple[Use, Any]] = {
    "get_session": (lambda m, x: m.session.get_session(x), None),
    "touch": (lambda m, x: m.session.touch(x), False),
    "touch until": (
        lambda m, x: m.session.touch(x, expires_at=datetime.now(UTC) + timedelta(hours=1)),
        False,
    ),
    "delete_session": (lambda m, x: m.session.delete_session(x), False),
    "list_sessions": (lambda m, x: m.session.list_sessions(x), []),
    "invalidate_user_sessions": (lambda m, x: m.session.invalidate_user_sessions(x), 0),
    "get_user": (lambda m, x: m.session.get_user(x), None),
    "invalidate_user": (lambda m, x: m.session.invalidate_user(x), False),
    "manager.invalidate_user": (
        lambda m, x: m.invalidate_user(x),
        UserInvalidation(sessions=0, profile=0, catalogs=0, downloads=0),
    ),
    "get_dashboard": (lambda m, x: m.catalog.get_dashboard(x, int), None),
    "get_watch_later": (lambda m, x: m.catalog.get_watch_later(x, int), None),
    "get_continue_watching": (lambda m, x: m.catalog.get_continue_watching(x, int), None),
    "get_recommendations": (lambda m, x: m.catalog.get_recommendations(x, int), None),
    "invalidate_user_catalog": (lambda m, x: m.catalog.invalidate_user_catalog(x), 0),
    "invalidate_title": (lambda m, x: m.catalog.invalidate_title(x), 0),
    "get_progress": (lambda m, x: m.download.get_progress(x), None),
    "get_many": (lambda m, x: m.download.get_many([x]), {}),
    "get_user_downloads": (lambda m, x: m.download.get_user_downloads(x), []),
    "invalidate_user_downloads": (lambda m, x: m.download.invalidate_user_downloads(x), 0),
    "remove": (lambda m, x: m.download.remove(x), 0),
    "increment_downloaded_bytes": (lambda m, x: m.download.increment_downloaded_bytes(x, 5), None),
    "set_download_speed": (lambda m, x: m.download.set_download_speed(x, 5.0), False),
}

REFUSE: dict[str, Use] = {
    "set_session": lambda m, x: m.session.set_session(login(x)),
    "set_session of a user": lambda m, x: m.session.set_session(login(user_id=x)),
    "set_user": lambda m, x: m.session.set_user(UserData(id=x, email="a@example.com")),
    "dashboard": lambda m, x: m.catalog.dashboard(x, int),
    "watch_later": lambda m, x: m.catalog.watch_later(x, int),
    "continue_watching": lambda m, x: m.catalog.continue_watching(x, int),
    "recommendations": lambda m, x: m.catalog.recommendations(x, int),
    "set_dashboard": lambda m, x: m.catalog.set_dashboard(x, 1),
    "set_dashboard with a title": lambda m, x: m.catalog.set_dashboard("ada", 1, titles=[x]),
    "set_watch_later": lambda m, x: m.catalog.set_watch_later(x, 1),
    "set_continue_watching": lambda m, x: m.catalog.set_continue_watching(x, 1),
    "set_recommendations": lambda m, x: m.catalog.set_recommendations(x, 1),
    "acquire_lock": lambda m, x: m.session.acquire_lock(x),
    "extend_lock": lambda m, x: m.session.extend_lock(x, "token"),
    "release_lock": lambda m, x: m.session.release_lock(x, "token"),
    "session.lock": lambda m, x: m.session.lock(x),
    "download_lock": lambda m, x: m.download_lock(x),
    "set_progress": lambda m, x: m.download.set_progress(progress(x)),
    "set_progress of a user": lambda m, x: m.download.set_progress(progress(user_id=x)),
    "bulk_set_progress": lambda m, x: m.download.bulk_set_progress([progress(), progress(x)]),
}

ACCEPT: dict[str, Use] = {
    "rate limit: user": lambda m, x: m.session.rate_limit_check(x, "call", 5),
    "rate limit: action": lambda m, x: m.session.rate_limit_check("ada", x, 5),
    "search": lambda m, x: m.catalog.search(x, "", "", int).get_or_load(lambda: 7),
    "search: genre": lambda m, x: m.catalog.search("neon", x, "", int).get_or_load(lambda: 7),
    "search: kind": lambda m, x: m.catalog.search("neon", "", x, int).get_or_load(lambda: 7),
    "discover: genre": lambda m, x: m.catalog.discover(x, "", 1, int).get_or_load(lambda: 7),
    "discover: kind": lambda m, x: m.catalog.discover("", x, 1, int).get_or_load(lambda: 7),
    "get_search": lambda m, x: [m.catalog.get_search(x, x, x, int)],
    "set_search": lambda m, x: m.catalog.set_search(x, x, x, 7),
    "get_discover": lambda m, x: [m.catalog.get_discover(x, x, 1, int)],
    "set_discover": lambda m, x: m.catalog.set_discover(x, x, 1, 7),
    "keep": lambda m, x: m.session.invalidate_user_sessions("ada", keep=x) == 0,
    "after": lambda m, x: m.download.page_active_downloads(after=x).items == (),
}


def refusal_of(use: Callable[[], Any]) -> InvalidInputError:
    with pytest.raises(InvalidInputError) as caught:
        use()
    return caught.value


@pytest.mark.parametrize("name", MISS)
def test_nothing_is_found_and_nothing_is_sent(
    manager: CacheManager, client: Redis, name: str
) -> None:
    use, nothing = MISS[name]
    before = commands(client)
    for what, value in (UNUSABLE | NO_TEXT).items():
        assert use(manager, value) == nothing, what
    assert commands_since(client, before) == {}
    for what, value in ODD.items():
        assert use(manager, value) == nothing, what


@pytest.mark.parametrize("name", REFUSE)
def test_nothing_is_stored_under_an_id_that_no_key_can_have(
    manager: CacheManager, client: Redis, name: str
) -> None:
    before = commands(client)
    for value in UNUSABLE.values():
        error = refusal_of(lambda value=value: REFUSE[name](manager, value))  # type: ignore[misc]
        assert str(error).endswith(".")
        assert len(str(error)) < 400
    assert commands_since(client, before) == {}


@pytest.mark.parametrize("name", ACCEPT)
def test_any_text_of_a_stranger_works(manager: CacheManager, name: str) -> None:
    for what, value in (UNUSABLE | ODD).items():
        assert ACCEPT[name](manager, value), what
    if not name.startswith("get_"):
        for value in [b"s-1", 5] if name in ("keep", "after") else NO_TEXT.values():
            refusal_of(lambda value=value: ACCEPT[name](manager, value))  # type: ignore[misc]
    for key in manager.client.scan_iter():
        assert len(key) < 2000


def test_a_long_query_is_found_again(manager: CacheManager) -> None:
    for query in UNUSABLE.values():
        assert manager.catalog.set_search(query, query, query, len(query))
        assert manager.catalog.get_search(query, query, query, int) == len(query)


def test_a_limit_counts_a_stranger_of_any_name(manager: CacheManager) -> None:
    for user in (UNUSABLE | ODD).values():
        calls = [manager.session.rate_limit_check(user, "login", 2).allowed for _ in range(3)]
        assert calls == [True, True, False]


def test_one_unusable_id_does_not_hide_the_others(manager: CacheManager) -> None:
    manager.download.set_progress(progress("job-1"))
    assert list(manager.download.get_many(["", "job-1", "\ud800", "x" * 600])) == ["job-1"]
    assert manager.download.remove("", "job-1", "\ud800") == 1


def test_a_refusal_does_not_show_the_id_of_a_session_or_user(manager: CacheManager) -> None:
    secret = "hunter2" * 100
    for name in ("set_session", "set_session of a user", "set_user", "set_dashboard"):
        for value in (secret, "hunter2\ud800"):
            error = refusal_of(lambda name=name, value=value: REFUSE[name](manager, value))  # type: ignore[misc]
            assert "hunter2" not in str(error)
            assert f"of length {len(value)}" in str(error)


def test_a_session_may_have_an_odd_id(manager: CacheManager) -> None:
    for name in ODD.values():
        given = login(name)
        assert manager.session.set_session(given)
        assert manager.session.get_session(name) == given
        assert manager.session.touch(name)
        assert manager.session.delete_session(name)


def test_a_page_that_is_no_number_is_a_miss_and_not_stored(manager: CacheManager) -> None:
    for page in (0, -1, 1.5, "1", None, 2**70):
        assert manager.catalog.get_discover("", "", page, int) is None  # type: ignore[arg-type]
        refusal_of(lambda page=page: manager.catalog.set_discover("", "", page, 1))  # type: ignore[misc]
