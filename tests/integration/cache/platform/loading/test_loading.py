"""`get_or_load`: one loader for all, and for how long what it brought is served."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel

from cache import CacheManager, CacheService
from cache.platform import codec
from cache.platform.counts import CacheCounts
from domain.errors import InvalidInputError
from tests.support.client_side import reads
from tests.support.loading import Caller, HeldLoader, Loader, crowd
from tests.support.wait import wait_until

KEY = "seen:load"


class Film(BaseModel):
    cache_version: ClassVar[int] = 2
    title: str


class OldFilm(BaseModel):
    cache_version: ClassVar[int] = 1
    title: str


FILM = Film(title="Neon")


def for_all(callers: int, manager: CacheManager, loader: Loader) -> Callable[[], Any]:
    """A loader that takes until so many callers wait for it."""
    before = reads(manager.client)

    def slow() -> Any:
        wait_until(
            lambda: reads(manager.client) >= before + callers, what="callers who have looked"
        )
        time.sleep(0.1)
        return loader()

    return slow


# ── loaded once ─────────────────────────────────────────────────────────────────────────────────


def test_what_a_loader_brings_is_stored_and_served(
    service: CacheService, manager: CacheManager
) -> None:
    loader = Loader(FILM)
    for _ in range(5):
        assert service.get_or_load(KEY, Film, loader, 60) == FILM
    assert loader.runs == 1
    assert service.get(KEY, Film) == FILM
    assert 59_000 < manager.client.pttl(KEY) <= 60_000
    assert manager.counts() == CacheCounts(hits=5, misses=1, loads=1)


def test_one_loader_runs_for_many_threads(service: CacheService, manager: CacheManager) -> None:
    def loader() -> Film:
        time.sleep(0.1)
        return FILM

    found = crowd(40, lambda: service.get_or_load(KEY, Film, loader, 60))
    assert found == [FILM] * 40
    counts = manager.counts()
    assert (counts.loads, counts.hits + counts.misses) == (1, 40)
    assert len({id(film) for film in found}) == 40, "each caller has a copy of its own"


def test_an_error_of_the_loader_reaches_all_who_wait_and_nothing_is_stored(
    service: CacheService, manager: CacheManager
) -> None:
    loader = for_all(20, manager, Loader(LookupError("no such film")))
    found = crowd(20, lambda: service.get_or_load(KEY, Film, loader, 60, wait=60))
    assert {type(one) for one in found} == {LookupError}
    assert manager.counts().loads == 1
    assert not service.exists(KEY)
    assert service.get_or_load(KEY, Film, Loader(FILM), 60) == FILM


def test_other_keys_and_models_are_loaded_for_themselves(
    service: CacheService, manager: CacheManager
) -> None:
    held = HeldLoader(1)
    with Caller(lambda: service.get_or_load(KEY, int, held, 60)) as caller, held:
        assert held.started.wait(10)
        assert service.get_or_load("seen:other", int, Loader(2), 60) == 2
        assert service.get_or_load(KEY, str, Loader("x"), 60, wait=0) == "x"
        before = reads(manager.client)
        with Caller(lambda: service.get_or_load(KEY, str, Loader("y"), 60, wait=60)) as third:
            wait_until(lambda: reads(manager.client) > before + 1, what="one who looks repeatedly")
            held.let_go()
            assert caller.result() == 1
            assert third.result() == "y"


@pytest.mark.parametrize("wait", [0, 5])
def test_who_need_not_wait_stores_what_it_loads(service: CacheService, wait: float) -> None:
    assert service.get_or_load(KEY, Film, Loader(FILM), 60, wait=wait) == FILM
    assert service.get(KEY, Film) == FILM


# ── what a loader may bring ─────────────────────────────────────────────────────────────────────


def test_that_there_is_nothing_is_remembered_for_a_while(
    service: CacheService, manager: CacheManager
) -> None:
    nothing = Loader(None)
    for _ in range(3):
        assert service.get_or_load(KEY, Film, nothing, 60, miss_ttl=20) is None
    assert nothing.runs == 1
    assert service.get(KEY, Film) is None
    assert 19_000 < manager.client.pttl(KEY) <= 20_000
    assert manager.counts().hits == 0
    service.expire(KEY, 0.001)
    wait_until(lambda: not service.exists(KEY))
    assert service.get_or_load(KEY, Film, Loader(FILM), 60) == FILM


def test_what_is_set_replaces_a_remembered_nothing(service: CacheService) -> None:
    service.get_or_load(KEY, Film, Loader(None), 60)
    service.set(KEY, FILM, 60)
    assert service.get_or_load(KEY, Film, Loader(None), 60) == FILM


def test_false_and_empty_values_are_values(service: CacheService) -> None:
    for value, model in ((0, int), (False, bool), ("", str), ([], list[int])):
        service.delete(KEY)
        loader = Loader(value)
        for _ in range(2):
            assert service.get_or_load(KEY, model, loader, 60) == value
        assert loader.runs == 1


def test_a_value_that_is_too_large_is_returned_and_not_stored(
    service: CacheService, manager: CacheManager, caplog: pytest.LogCaptureFixture
) -> None:
    large = "x" * codec.MAX_VALUE_BYTES
    with caplog.at_level(logging.ERROR):
        assert service.get_or_load(KEY, str, Loader(large), 60) == large
    assert KEY in caplog.text
    assert "x" * 100 not in caplog.text
    assert not service.exists(KEY)
    assert manager.counts().dropped_writes == 1


def test_a_catalog_entry_that_is_too_large_is_listed_under_no_title(manager: CacheManager) -> None:
    large = "x" * codec.MAX_VALUE_BYTES
    entry = manager.catalog.dashboard("ada", str)
    assert entry.get_or_load(Loader(large), titles=lambda _: ["t-1"]) == large
    assert list(manager.client.scan_iter("*")) == []


@pytest.mark.parametrize("value", [OldFilm(title="x"), "text", 5, {"title": "x"}])
def test_a_value_of_another_model_is_an_error_for_all(
    service: CacheService, manager: CacheManager, value: Any
) -> None:
    loader = for_all(10, manager, Loader(value))
    found = crowd(10, lambda: service.get_or_load(KEY, Film, loader, 60, wait=60))
    assert {type(one) for one in found} == {InvalidInputError}
    assert manager.counts().loads == 1
    assert not service.exists(KEY)


def test_a_value_that_does_not_survive_json_is_returned(service: CacheService) -> None:
    found = service.get_or_load(KEY, float, Loader(math.nan), 60)
    assert found is not None
    assert math.isnan(found)


@pytest.mark.parametrize(
    "options",
    [
        {"ttl": 0},
        {"ttl": -1},
        {"ttl": math.inf},
        {"ttl": math.nan},
        {"miss_ttl": 0},
        {"miss_ttl": math.inf},
        {"load_timeout": 0},
        {"load_timeout": math.nan},
        {"stale_for": -1},
        {"stale_for": math.inf},
        {"early": -0.1},
        {"early": math.inf},
        {"wait": -1},
        {"wait": math.inf},
        {"wait": math.nan},
        {"jitter": 1},
        {"jitter": -0.5},
    ],
)
def test_options_that_make_no_sense_do_nothing(
    service: CacheService, manager: CacheManager, options: dict[str, float]
) -> None:
    loader = Loader(FILM)
    (name,) = options
    with pytest.raises(InvalidInputError, match=name):
        service.get_or_load(KEY, Film, loader, **{"ttl": 60, **options})
    assert loader.runs == 0
    assert manager.client.dbsize() == 0


# ── what stood there before ─────────────────────────────────────────────────────────────────────


def test_an_unreadable_value_is_loaded_again(
    service: CacheService, manager: CacheManager, caplog: pytest.LogCaptureFixture
) -> None:
    for raw in (b"damaged", b"\x02V\x00\x00damaged", b"\x01L", b""):
        manager.client.set(KEY, raw)
        assert service.get_or_load(KEY, dict[str, int], Loader({"a": 1}), 60) == {"a": 1}
        assert service.get(KEY, dict[str, int]) == {"a": 1}
    assert caplog.text.count("was deleted") == 4
    assert manager.counts() == CacheCounts(hits=4, misses=4, unreadable=4, loads=4)


def test_a_value_of_another_version_is_loaded_again(
    service: CacheService, manager: CacheManager
) -> None:
    service.set(KEY, OldFilm(title="x"), 60)
    assert service.get_or_load(KEY, Film, Loader(FILM), 60) == FILM
    service.get_or_load("seen:none", OldFilm, Loader(None), 60)
    assert service.get_or_load("seen:none", Film, Loader(FILM), 60) == FILM
    assert service.get(KEY, Film) == service.get("seen:none", Film) == FILM
    assert manager.counts().old_versions == 2


def test_a_value_that_was_set_is_served_as_long_as_it_is_there(
    service: CacheService, manager: CacheManager
) -> None:
    service.set(KEY, FILM, 60)
    manager.client.set("seen:old", b'"first version"')
    raw = manager.client.get(KEY)
    for _ in range(20):
        assert service.get_or_load(KEY, Film, Loader(None), 60, early=1e9, stale_for=5) == FILM
        assert service.get_or_load("seen:old", str, Loader(None), 60) == "first version"
    assert manager.client.get(KEY) == raw
    assert manager.counts().loads == 0


def test_a_key_of_another_kind_is_a_mistake(service: CacheService, manager: CacheManager) -> None:
    manager.client.lpush(KEY, "x")
    with pytest.raises(Exception, match="WRONGTYPE"):
        service.get_or_load(KEY, Film, Loader(FILM), 60)
    assert manager.client.type(KEY) == b"list"
