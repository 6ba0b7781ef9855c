"""The six kinds of catalog entries: their keys, their lives, what they share, and a user's at once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest
from pydantic import BaseModel

from cache import CacheManager, CatalogEntry
from tests.support.build import Connect
from tests.support.stores.commands import commands, commands_since
from tests.support.stores.server import StoreServer


class Film(BaseModel):
    id: str
    title: str


class Page(BaseModel):
    films: list[Film]


PAGE = Page(films=[Film(id="t-1", title="Neon"), Film(id="t-2", title="Arc")])
OTHER = Page(films=[])

Make = Callable[[CacheManager], CatalogEntry[Page]]

#: Each kind, its key, and its life in seconds.
ENTRIES: list[tuple[Make, str, int]] = [
    (lambda m: m.catalog.dashboard("ada", Page), "seen:catalog:dashboard:ada", 300),
    (
        lambda m: m.catalog.discover("sci-fi", "movie", 2, Page),
        "seen:catalog:discover:sci-fi:movie:2",
        300,
    ),
    (lambda m: m.catalog.search("neon", "", "all", Page), "seen:catalog:search:neon::all", 600),
    (lambda m: m.catalog.watch_later("ada", Page), "seen:catalog:watchlater:ada", 300),
    (lambda m: m.catalog.continue_watching("ada", Page), "seen:catalog:continue:ada", 300),
    (lambda m: m.catalog.recommendations("ada", Page), "seen:recommendation:ada", 3600),
]

each_entry = pytest.mark.parametrize(
    ("make", "key", "life"), ENTRIES, ids=[key for _, key, _ in ENTRIES]
)


@each_entry
def test_an_entry_is_set_read_and_deleted(
    manager: CacheManager, make: Make, key: str, life: int
) -> None:
    entry = make(manager)
    assert entry.get() is None
    assert entry.set(PAGE) is True
    assert entry.get() == PAGE
    assert make(manager).get() == PAGE
    assert list(manager.client.scan_iter()) == [key.encode()]
    assert (life - 30) * 1000 < manager.client.pttl(key) <= life * 1000
    assert entry.delete() is True
    assert entry.delete() is False
    assert entry.get() is None


@each_entry
def test_an_entry_is_loaded_once(manager: CacheManager, make: Make, key: str, life: int) -> None:
    calls = []

    def load() -> Page:
        calls.append(1)
        return PAGE

    entry = make(manager)
    assert [entry.get_or_load(load, early=0) for _ in range(3)] == [PAGE] * 3
    assert len(calls) == 1
    assert (life - 30) * 1000 < manager.client.pttl(key) <= life * 1000
    assert entry.get() == PAGE
    entry.delete()
    assert entry.get_or_load(lambda: OTHER) == OTHER


def test_an_entry_may_be_a_list_of_models(manager: CacheManager) -> None:
    entry = manager.catalog.discover("", "", 1, list[Film])
    assert entry.set(PAGE.films)
    assert entry.get() == PAGE.films
    entry.delete()
    assert entry.get_or_load(
        lambda: PAGE.films, titles=lambda films: [one.id for one in films]
    ) == (PAGE.films)
    assert entry.get() == PAGE.films
    assert manager.catalog.invalidate_title("t-2") == 1


def test_options_of_a_life_reach_the_store(manager: CacheManager) -> None:
    entry = manager.catalog.dashboard("ada", Page)
    entry.set(PAGE, jitter=0.5)
    lives = set()
    for _ in range(10):
        entry.set(PAGE, jitter=0.5)
        lives.add(manager.client.pttl(entry.key))
    assert len(lives) > 5
    assert 140_000 < min(lives) <= max(lives) <= 300_000
    entry.delete()
    assert entry.get_or_load(lambda: None, miss_ttl=7) is None
    assert manager.client.pttl(entry.key) <= 7000
    entry.delete()
    entry.get_or_load(lambda: PAGE, stale_for=100)
    assert 390_000 < manager.client.pttl(entry.key) <= 400_000


# ── searches ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Neon City", "  neon\t city \n"),
        ("ＮＥＯＮ", "neon"),
        ("ℕEON", "neon"),
        ("STRASSE", "straße"),
        ("Cafe\u0301", "CAFÉ"),
        ("ΐ", "Ϊ́"),
        ("ﬁlm", "FILM"),
    ],
)
def test_queries_that_mean_the_same_share_an_entry(
    manager: CacheManager, one: str, other: str
) -> None:
    manager.catalog.search(one, "", "", Page).set(PAGE)
    assert manager.catalog.search(other, "", "", Page).get() == PAGE


def test_queries_that_differ_do_not_share_an_entry(manager: CacheManager) -> None:
    manager.catalog.search("neon", "sci-fi", "movie", Page).set(PAGE)
    for query, genre, kind in [
        ("neo n", "sci-fi", "movie"),
        ("neon", "", "movie"),
        ("neon", "sci-fi", "series"),
        ("neon:sci-fi", "", "movie"),
    ]:
        assert manager.catalog.search(query, genre, kind, Page).get() is None


def test_a_long_query_stands_as_its_digest(manager: CacheManager) -> None:
    query = "Neon " * 100
    entry = manager.catalog.search(query, "", "", Page)
    digest = hashlib.sha256(" ".join(["neon"] * 100).encode()).hexdigest()
    assert entry.key == f"seen:catalog:search:sha256={digest}::"
    entry.set(PAGE)
    assert manager.catalog.search(query.upper(), "", "", Page).get() == PAGE
    assert manager.catalog.search(query + "x", "", "", Page).get() is None


# ── a user's ────────────────────────────────────────────────────────────────────────────────────


def test_all_that_is_a_users_own_is_forgotten_without_a_scan(manager: CacheManager) -> None:
    for make, _, _ in ENTRIES:
        make(manager).set(PAGE)
    manager.catalog.dashboard("bob", Page).set(PAGE)
    before = commands(manager.client)
    assert manager.catalog.invalidate_user_catalog("ada") == 4
    run = commands_since(manager.client, before)
    assert run == {"unlink": 1}
    assert sorted(manager.client.scan_iter()) == [
        b"seen:catalog:dashboard:bob",
        b"seen:catalog:discover:sci-fi:movie:2",
        b"seen:catalog:search:neon::all",
    ]
    assert manager.catalog.invalidate_user_catalog("ada") == 0


def test_without_a_store_an_entry_is_loaded_and_not_stored(
    private_store: StoreServer, connect: Connect
) -> None:
    with connect(private_store) as manager:
        entry = manager.catalog.dashboard("ada", Page)
        entry.set(PAGE)
        private_store.kill()
        assert entry.set(PAGE, titles=["t-1"]) is False
        loaded = entry.get_or_load(
            lambda: OTHER, titles=lambda page: [film.id for film in page.films]
        )
        assert loaded == OTHER
