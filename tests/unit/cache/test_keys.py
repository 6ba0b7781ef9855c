"""The key builder: documented names, and identifiers that neither break a key nor widen a pattern."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable

import pytest

from cache import KeyBuilder, ttl
from cache.keys import possible_key
from domain.errors import InvalidInputError

KEYS = KeyBuilder("seen")

#: Each key the builder makes, beside the name it must have.
NAMES: list[tuple[str, str]] = [
    (KEYS.session_key("session-123"), "seen:session:session-123"),
    (KEYS.user_key("user-456"), "seen:user:user-456"),
    (KEYS.user_sessions_key("user-456"), "seen:user:user-456:sessions"),
    (KEYS.user_downloads_key("user-456"), "seen:user:user-456:downloads"),
    (KEYS.catalog_dashboard_key("user-456"), "seen:catalog:dashboard:user-456"),
    (KEYS.catalog_discover_key("sci-fi", "movie", 1), "seen:catalog:discover:sci-fi:movie:1"),
    (KEYS.catalog_search_key("neon", "", "all"), "seen:catalog:search:neon::all"),
    (KEYS.catalog_watch_later_key("user-456"), "seen:catalog:watchlater:user-456"),
    (KEYS.catalog_continue_watching_key("user-456"), "seen:catalog:continue:user-456"),
    (KEYS.recommendation_key("user-456"), "seen:recommendation:user-456"),
    (KEYS.catalog_title_key("title-9"), "seen:catalog:title:title-9"),
    (KEYS.download_job_key("job-123"), "seen:download:job:job-123"),
    (KEYS.download_rate_key(), "seen:download:rate"),
    (KEYS.active_downloads_key(), "seen:download:active"),
    (KEYS.dirty_downloads_key(), "seen:download:dirty"),
    (KEYS.rate_limit_key("user-456", "api-call"), "seen:ratelimit:user-456:api-call"),
    (KEYS.lock_key("resource"), "seen:lock:resource"),
    (KEYS.lock_key("download:job-123"), "seen:lock:download:job-123"),
    (KEYS.download_lock_key("job-123"), "seen:lock:download:job-123"),
    (KEYS.health_key("probe"), "seen:health:probe"),
    (KEYS.limits_key(), "seen:limits"),
    (KEYS.demand_key("total"), "seen:demand:total"),
    (KEYS.demand_key("host:example.org"), "seen:demand:host:example.org"),
    (KEYS.slots_key("connections:example.org"), "seen:slots:connections:example.org"),
    (KEYS.slots_key("connections:2001:db8::1"), "seen:slots:connections:2001%3Adb8%3A%3A1"),
    (KEYS.cooldown_key("example.org"), "seen:cooldown:example.org"),
    (KEYS.metrics_key("0a1b"), "seen:metrics:0a1b"),
    (KEYS.beat_key(), "seen:beat"),
    (KEYS.workers_key(), "seen:workers"),
    (KEYS.beat_sent_key("download.purge"), "seen:beat:sent:download.purge"),
]

#: Every method that takes one identifier.
ONE_IDENTIFIER: list[Callable[[str], str]] = [
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
    KEYS.lock_key,
    KEYS.download_lock_key,
    KEYS.health_key,
    KEYS.cooldown_key,
    KEYS.metrics_key,
    lambda text: KEYS.slots_key(f"user:{text}"),
    lambda text: KEYS.demand_key(f"host:{text}"),
]

#: Every place for a text of strangers.
ANY_TEXT: list[Callable[[str], str]] = [
    lambda text: KEYS.rate_limit_key(text, "action"),
    lambda text: KEYS.rate_limit_key("user", text),
    lambda text: KEYS.catalog_search_key(text, "", ""),
    lambda text: KEYS.catalog_search_key("", text, ""),
    lambda text: KEYS.catalog_search_key("", "", text),
    lambda text: KEYS.catalog_discover_key(text, "", 1),
    lambda text: KEYS.catalog_discover_key("", text, 1),
]


@pytest.mark.parametrize(("built", "name"), NAMES)
def test_a_key_has_its_documented_name(built: str, name: str) -> None:
    assert built == name


def test_another_namespace_changes_the_first_part_only() -> None:
    assert KeyBuilder("stage.2").download_job_key("job-123") == "stage.2:download:job:job-123"


@pytest.mark.parametrize(
    ("identifier", "shown"),
    [
        ("a:b", "a%3Ab"),
        ("*", "%2A"),
        ("a?[b]", "a%3F%5Bb%5D"),
        ("a b\n", "a%20b%0A"),
        ("a%3Ab", "a%253Ab"),
        ("ü", "%C3%BC"),
        ("me@example.com", "me@example.com"),
    ],
)
def test_an_identifier_is_escaped(identifier: str, shown: str) -> None:
    assert KEYS.session_key(identifier) == f"seen:session:{shown}"


@pytest.mark.parametrize("build", ONE_IDENTIFIER)
@pytest.mark.parametrize("wrong", ["", "x" * 513, "ü" * 257, "bad\ud800"])
def test_an_unusable_identifier_is_refused(build: Callable[[str], str], wrong: str) -> None:
    with pytest.raises(InvalidInputError):
        build(wrong)


def test_the_longest_identifier_is_accepted() -> None:
    assert KEYS.session_key("x" * 512) == "seen:session:" + "x" * 512


def test_an_error_names_the_field() -> None:
    with pytest.raises(InvalidInputError, match=r"^job_id: '' is not valid") as caught:
        KEYS.download_job_key("")
    assert caught.value.field == "job_id"


def test_a_long_query_stands_as_its_digest() -> None:
    query = "ü" * 101
    digest = hashlib.sha256(query.encode()).hexdigest()
    assert KEYS.catalog_search_key(query, "", "") == f"seen:catalog:search:sha256={digest}::"
    # A short query that is spelt like one is still another key.
    assert KEYS.catalog_search_key(f"sha256={digest}"[:100], "", "") != f"sha256={digest}"


@pytest.mark.parametrize("build", ANY_TEXT)
def test_a_text_of_strangers_always_has_a_key_of_its_own(build: Callable[[str], str]) -> None:
    long = ["x" * 513, "x" * 514, "ü" * 257, "x" * 600 + "\ud800", "x" * 1_000_000]
    texts = ["", " ", ":", "*", "\0", "\ud800", "\udcff", "?", "%ED%A0%80", "x" * 100, *long]
    keys = [build(text) for text in texts]
    assert len(set(keys)) == len(texts)
    assert all(re.fullmatch(r"[A-Za-z0-9._~@%:=-]{1,600}", key) for key in keys)
    assert len({key.count(":") for key in keys}) == 1
    # A text that is spelt as the digest of another one is still another key.
    digest = re.search("sha256=[0-9a-f]{64}", build("x" * 513))
    assert digest is not None
    assert build(digest[0]) != build("x" * 513)


@pytest.mark.parametrize("build", ANY_TEXT)
@pytest.mark.parametrize("wrong", [None, b"text", 5, ["text"]])
def test_what_is_no_text_is_refused(build: Callable[[object], str], wrong: object) -> None:
    with pytest.raises(InvalidInputError, match="string"):
        build(wrong)


@pytest.mark.parametrize("identifier", ["", "x" * 513, "\ud800", b"x", None, 5, [], {}])
def test_an_unusable_identifier_has_no_possible_key(identifier: object) -> None:
    assert possible_key(KEYS.session_key, identifier) is None
    assert possible_key(KEYS.session_key, "s-1") == "seen:session:s-1"


@pytest.mark.parametrize("page", [0, -1])
def test_pages_count_from_one(page: int) -> None:
    with pytest.raises(InvalidInputError, match="page"):
        KEYS.catalog_discover_key("", "", page)


@pytest.mark.parametrize("resource", ["a::b", ":a", "a:", ":"])
def test_a_lock_name_has_no_empty_part(resource: str) -> None:
    with pytest.raises(InvalidInputError, match="resource"):
        KEYS.lock_key(resource)


def test_a_lock_name_is_bounded_as_a_whole() -> None:
    with pytest.raises(InvalidInputError, match="resource"):
        KEYS.lock_key(":".join(["part"] * 200))


@pytest.mark.parametrize("namespace", ["", "a:b", "a*", "a b", "ü", "x" * 41, "seen\n"])
def test_an_unusable_namespace_is_refused(namespace: str) -> None:
    with pytest.raises(InvalidInputError, match="namespace"):
        KeyBuilder(namespace)


# ── keys as logs may have them ──────────────────────────────────────────────────────────────────

DIGITS = hashlib.sha256(b"user-456").hexdigest()[:8]


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        (KEYS.session_key("user-456"), f"seen:session:#{DIGITS}"),
        (KEYS.user_key("user-456"), f"seen:user:#{DIGITS}"),
        (KEYS.user_sessions_key("user-456"), f"seen:user:#{DIGITS}:sessions"),
        (KEYS.user_downloads_key("user-456"), f"seen:user:#{DIGITS}:downloads"),
        (KEYS.catalog_dashboard_key("user-456"), f"seen:catalog:dashboard:#{DIGITS}"),
        (KEYS.catalog_watch_later_key("user-456"), f"seen:catalog:watchlater:#{DIGITS}"),
        (KEYS.catalog_continue_watching_key("user-456"), f"seen:catalog:continue:#{DIGITS}"),
        (KEYS.recommendation_key("user-456"), f"seen:recommendation:#{DIGITS}"),
        (KEYS.rate_limit_key("user-456", "call"), f"seen:ratelimit:#{DIGITS}:call"),
        (KEYS.slots_key("user:user-456"), f"seen:slots:user:#{DIGITS}"),
        # Whole keys that callers make themselves, of any text.
        ("seen:user:user-456:of\nmy own", f"seen:user:#{DIGITS}:of\nmy own"),
    ],
)
def test_a_key_is_shown_without_the_id_of_a_session_or_user(key: str, shown: str) -> None:
    assert KEYS.redacted(key) == shown


@pytest.mark.parametrize(
    "key",
    [
        KEYS.download_job_key("job-123"),
        KEYS.catalog_discover_key("sci-fi", "movie", 1),
        KEYS.catalog_title_key("user-456"),
        KEYS.active_downloads_key(),
        KEYS.lock_key("user-456"),
        "seen:",
        "seen:user:",
        "open:user:user-456",
        "",
    ],
)
def test_any_other_key_is_shown_as_it_is(key: str) -> None:
    assert KEYS.redacted(key) == key


def test_another_namespace_shows_its_own_keys() -> None:
    keys = KeyBuilder("stage.2")
    assert keys.redacted(keys.user_key("user-456")) == f"stage.2:user:#{DIGITS}"


# ── patterns and lives ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("pattern", ["*", "other:*", "see*", "seen*", "[s]een:*", "seen", ""])
def test_a_pattern_cannot_leave_the_namespace(pattern: str) -> None:
    with pytest.raises(InvalidInputError, match="seen:"):
        KEYS.pattern(pattern)


def test_a_pattern_inside_the_namespace_is_passed_on() -> None:
    assert KEYS.pattern("seen:catalog:*") == "seen:catalog:*"


def test_lives_are_the_documented_ones() -> None:
    hour, minute = 3600, 60
    assert {name: value for name, value in vars(ttl).items() if name.isupper()} == {
        "SESSION": 24 * hour,
        "USER": 15 * minute,
        "CATALOG": 5 * minute,
        "DOWNLOAD": 30,
        "BEAT": 24 * hour,
        "WORKER_HEARTBEAT": 20,
        "WORKERS": hour,
        "METRICS": 24 * hour,
        "METRICS_OF_PROCESS": 20,
        "METRICS_RECORD": hour,
        "SLOTS": 30,
        "DEMAND": 3,
        "RATE_LIMIT": 1 * minute,
        "LOCK": 30,
        "SEARCH": 10 * minute,
        "RECOMMENDATION": 1 * hour,
        "UNPERSISTED": 24 * hour,
    }
