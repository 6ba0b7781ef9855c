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

ONE: list[Callable[[str], str]] = [
    KEYS.session_key,
    KEYS.user_key,
    KEYS.user_sessions_key,
    KEYS.user_downloads_key,
    KEYS.catalog_dashboard_key,
    KEYS.catalog_watch_later_key,
    KEYS.catalog_continue_watching_key,
    KEYS.recommendation_key,
    KEYS.download_job_key,
    KEYS.download_lock_key,
    KEYS.health_key,
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


@given(identifiers, identifiers)
def test_keys_of_different_kinds_never_meet(first: str, second: str) -> None:
    fixed = [KEYS.active_downloads_key(), KEYS.dirty_downloads_key()]
    mine = [build(first) for build in ONE]
    theirs = [build(second) for build in ONE]
    assert len(set(mine + fixed)) == len(ONE) + 2
    for place, key in enumerate(mine):
        assert key not in theirs[:place] + theirs[place + 1 :]
    assert KEYS.rate_limit_key(first, second) not in mine + theirs
    assert KEYS.catalog_search_key(first, second, "") not in mine + theirs


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
