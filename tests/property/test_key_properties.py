"""Whatever an identifier is: no two ever share a key, and none can act as a glob."""

from __future__ import annotations

import re
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from cache import KeyBuilder

KEYS = KeyBuilder("seen")

identifiers = st.text(
    st.one_of(st.characters(codec="utf-8"), st.sampled_from(":*?[]^\\- \n%=")),
    min_size=1,
    max_size=60,
)


def slots_key(user: str) -> str:
    """The slots of one user."""
    return KEYS.slots_key(f"user:{user}")


def demand_key(host: str) -> str:
    """The demand of one host's rate."""
    return KEYS.demand_key(f"host:{host}")


ONE: list[Callable[[str], str]] = [
    KEYS.session_key,
    KEYS.user_key,
    KEYS.user_sessions_key,
    KEYS.user_downloads_key,
    KEYS.catalog_dashboard_key,
    KEYS.catalog_watch_later_key,
    KEYS.catalog_continue_watching_key,
    KEYS.recommendation_key,
    KEYS.catalog_title_key,
    KEYS.download_job_key,
    KEYS.download_lock_key,
    KEYS.health_key,
    KEYS.cooldown_key,
    KEYS.metrics_key,
    KEYS.beat_sent_key,
    slots_key,
    demand_key,
]


@given(identifiers, identifiers)
def test_distinct_identifiers_make_distinct_keys(first: str, second: str) -> None:
    for build in ONE:
        assert (build(first) == build(second)) == (first == second)


@given(st.tuples(identifiers, identifiers), st.tuples(identifiers, identifiers))
def test_distinct_pairs_make_distinct_keys(first: tuple[str, str], second: tuple[str, str]) -> None:
    assert (KEYS.rate_limit_key(*first) == KEYS.rate_limit_key(*second)) == (first == second)
    one, other = KEYS.catalog_search_key(*first, ""), KEYS.catalog_search_key(*second, "")
    assert (one == other) == (first == second)


#: Any text at all: also empty, long, and with lone surrogates.
texts = st.one_of(
    st.text(st.characters(), max_size=40),
    st.builds(lambda text, times: text * times, st.text(st.characters(), min_size=1), st.just(600)),
)


@given(st.tuples(texts, texts), st.tuples(texts, texts))
def test_distinct_texts_of_strangers_make_distinct_keys(
    first: tuple[str, str], second: tuple[str, str]
) -> None:
    for build in (KEYS.rate_limit_key, lambda one, other: KEYS.catalog_search_key(one, other, "")):
        assert (build(*first) == build(*second)) == (first == second)
        assert re.fullmatch(r"[A-Za-z0-9._~@%:=-]{1,3200}", build(*first))


@given(identifiers, identifiers)
def test_keys_of_different_kinds_never_meet(first: str, second: str) -> None:
    """Two builders of different kinds never make the same key, of whatever identifiers."""
    mine, theirs = all_kinds(first, second), all_kinds(second, first)
    assert len(set(mine)) == len(mine)
    for place, key in enumerate(mine):
        assert key not in theirs[:place] + theirs[place + 1 :]


def all_kinds(one: str, other: str) -> list[str]:
    """A key of each kind there is."""
    return [
        *(build(one) for build in ONE),
        KEYS.active_downloads_key(),
        KEYS.dirty_downloads_key(),
        KEYS.download_rate_key(),
        KEYS.limits_key(),
        KEYS.beat_key(),
        KEYS.workers_key(),
        KEYS.rate_limit_key(one, other),
        KEYS.catalog_search_key(one, other, ""),
        KEYS.catalog_discover_key(one, other, 1),
    ]


def test_no_kind_is_left_out() -> None:
    public = {name for name in dir(KeyBuilder) if name.endswith("_key")}
    tested = {build.__name__ for build in ONE} | {
        "active_downloads_key",
        "data_loss_marker_key",
        "dirty_downloads_key",
        "download_rate_key",
        "limits_key",
        "beat_key",
        "workers_key",
        "rate_limit_key",
        "catalog_search_key",
        "catalog_discover_key",
        "lock_key",  # meets download_lock_key, and is meant to
    }
    assert public == tested


@given(st.lists(identifiers, min_size=1, max_size=4), st.lists(identifiers, min_size=1, max_size=4))
def test_resources_that_differ_have_locks_that_differ(first: list[str], second: list[str]) -> None:
    names = [":".join(part.replace(":", ";") for part in parts) for parts in (first, second)]
    one, other = (KEYS.lock_key(name) for name in names)
    assert (one == other) == (names[0] == names[1])


@given(
    st.tuples(identifiers, identifiers, st.integers(1, 99)),
    st.tuples(identifiers, identifiers, st.integers(1, 99)),
)
def test_distinct_pages_make_distinct_keys(
    first: tuple[str, str, int], second: tuple[str, str, int]
) -> None:
    one, other = KEYS.catalog_discover_key(*first), KEYS.catalog_discover_key(*second)
    assert (one == other) == (first == second)


#: Keys that logs show without their identifier.
PRIVATE: list[Callable[[str], str]] = [
    KEYS.session_key,
    KEYS.user_key,
    KEYS.user_sessions_key,
    KEYS.user_downloads_key,
    KEYS.catalog_dashboard_key,
    KEYS.catalog_watch_later_key,
    KEYS.catalog_continue_watching_key,
    KEYS.recommendation_key,
    slots_key,
    lambda user: KEYS.rate_limit_key(user, "call"),
]


@given(identifiers)
def test_a_log_shows_an_identifier_as_its_digest(identifier: str) -> None:
    empty = {build: build("x").rpartition("x") for build in PRIVATE}
    for build, (head, _, tail) in empty.items():
        shown = KEYS.redacted(build(identifier))
        assert re.fullmatch(f"{re.escape(head)}#[0-9a-f]{{8}}{re.escape(tail)}", shown)


@given(identifiers, identifiers)
def test_nothing_with_a_meaning_to_the_store_survives(first: str, second: str) -> None:
    built = [build(first) for build in ONE]
    built += [KEYS.rate_limit_key(first, second), KEYS.catalog_search_key(first, second, first)]
    built.append(KEYS.catalog_discover_key(first, second, 1))
    for key in built:
        assert re.fullmatch(r"[A-Za-z0-9:%=._~@-]+", key)


@given(st.text(max_size=300), st.text(max_size=300))
def test_long_and_short_queries_never_share_a_key(first: str, second: str) -> None:
    for query in (first, second):
        query.encode()  # st.text makes no surrogates
    if first and second:
        one, other = (KEYS.catalog_search_key(query, "", "") for query in (first, second))
        assert (one == other) == (first == second)
