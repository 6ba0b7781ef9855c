"""Typed values: schema versions, jitter, sizes, `set_nx`, what is counted and what is logged."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel

from cache import CacheManager, CacheService
from cache.platform import codec
from cache.platform.counts import CacheCounts
from domain.errors import InvalidInputError, StoreUnavailableError
from tests.support.build import Connect
from tests.support.servers.tcp_proxy import Proxy
from tests.support.stores.server import StoreServer

KEY = "seen:x"


class Film(BaseModel):
    cache_version: ClassVar[int] = 2
    title: str


class OldFilm(BaseModel):
    """As an older release of the program has it, which may run at the same time."""

    cache_version: ClassVar[int] = 1
    name: str


FILM = Film(title="Neon")
TOO_LARGE = "x" * codec.MAX_VALUE_BYTES


# ── schema versions ─────────────────────────────────────────────────────────────────────────────


def test_a_value_of_another_version_is_a_miss_and_stays(
    service: CacheService, manager: CacheManager, caplog: pytest.LogCaptureFixture
) -> None:
    service.set(KEY, OldFilm(name="Neon"), 60)
    assert service.get(KEY, Film) is None
    assert service.mget([KEY], Film) == {}
    assert service.get(KEY, OldFilm) == OldFilm(name="Neon")
    counts = manager.counts()
    assert (counts.misses, counts.old_versions, counts.unreadable) == (2, 2, 0)
    assert caplog.text == ""


def test_a_new_release_reads_what_it_has_stored_itself(service: CacheService) -> None:
    service.set(KEY, OldFilm(name="Neon"), 60)
    service.set(KEY, FILM, 60)
    assert service.get(KEY, Film) == FILM
    assert service.get(KEY, OldFilm) is None


def test_json_of_the_first_version_is_read_by_models_without_one(
    service: CacheService, manager: CacheManager
) -> None:
    manager.client.set(KEY, b'{"title":"Neon"}')
    assert service.get(KEY, dict[str, str]) == {"title": "Neon"}
    assert service.get(KEY, Film) is None
    assert service.exists(KEY)


# ── models ──────────────────────────────────────────────────────────────────────────────────────


def test_a_collection_is_stored_as_what_it_will_be_read_as(service: CacheService) -> None:
    with pytest.raises(InvalidInputError, match=r"model=list\[Film\]"):
        service.set(KEY, [FILM], 60)
    with pytest.raises(InvalidInputError, match="model"):
        service.mset({KEY: [FILM]}, 60)
    with pytest.raises(InvalidInputError, match="model"):
        service.set_nx(KEY, {"a": FILM}, 60)
    assert not service.exists(KEY)
    for store in (service.set, service.set_nx):
        service.delete(KEY)
        assert store(KEY, [FILM], 60, model=list[Film])
        assert service.get(KEY, list[Film]) == [FILM]
    assert service.mset({KEY: {"a": FILM}}, 60, model=dict[str, Film])
    assert service.get(KEY, dict[str, Film]) == {"a": FILM}


def test_a_value_that_is_not_of_its_model_writes_nothing(service: CacheService) -> None:
    uses: list[Callable[[], object]] = [
        lambda: service.set(KEY, OldFilm(name="x"), 60, model=Film),
        lambda: service.set(KEY, ["x"], 60, model=list[int]),
        lambda: service.set_nx(KEY, None, 60, model=Film),
        lambda: service.mset({KEY: FILM, "seen:y": OldFilm(name="x")}, 60, model=Film),
    ]
    for use in uses:
        with pytest.raises(InvalidInputError, match="does not fit the model"):
            use()
    assert not service.exists(KEY)


def test_a_value_that_is_too_large_writes_nothing(service: CacheService) -> None:
    service.set(KEY, "before", 60)
    uses: list[Callable[[], object]] = [
        lambda: service.set(KEY, TOO_LARGE, 60),
        lambda: service.mset({KEY: "small", "seen:y": TOO_LARGE}, 60),
        lambda: service.set_nx("seen:y", TOO_LARGE, 60),
    ]
    for use in uses:
        with pytest.raises(InvalidInputError, match=r"8,388,610 bytes.*limit is 8,388,608 bytes"):
            use()
    assert service.get(KEY, str) == "before"
    assert not service.exists("seen:y")


def test_a_large_value_is_small_in_the_store(service: CacheService, manager: CacheManager) -> None:
    service.set(KEY, "x" * 1_000_000, 60)
    assert service.get(KEY, str) == "x" * 1_000_000
    assert manager.client.strlen(KEY) < 1000


# ── lives ───────────────────────────────────────────────────────────────────────────────────────


def lives(manager: CacheManager, keys: list[str]) -> list[int]:
    """What is left of the keys' lives, in milliseconds."""
    return [int(manager.client.pttl(key)) for key in keys]


def test_jitter_shortens_by_at_most_its_share(service: CacheService, manager: CacheManager) -> None:
    keys = [f"seen:{number}" for number in range(200)]
    for key in keys:
        service.set(key, 1, 1000, jitter=0.25)
    left = lives(manager, keys)
    assert max(left) <= 1_000_000
    assert min(left) >= 750_000 - 60_000  # however long this test took
    assert max(left) - min(left) > 150_000
    service.set(KEY, 1, 1000)
    assert lives(manager, [KEY])[0] > 940_000


def test_of_several_values_each_has_a_jitter_of_its_own(
    service: CacheService, manager: CacheManager
) -> None:
    keys = [f"seen:{number}" for number in range(200)]
    service.mset(dict.fromkeys(keys, 1), 1000, jitter=0.5)
    left = lives(manager, keys)
    assert 500_000 - 60_000 <= min(left) < 600_000
    assert 900_000 < max(left) <= 1_000_000
    assert len({life // 1000 for life in left}) > 50


@pytest.mark.parametrize("jitter", [-0.1, 1, 1.5, math.nan, math.inf])
def test_a_jitter_is_less_than_the_whole(service: CacheService, jitter: float) -> None:
    uses: list[Callable[[], object]] = [
        lambda: service.set(KEY, 1, 60, jitter=jitter),
        lambda: service.mset({KEY: 1}, 60, jitter=jitter),
        lambda: service.mset({}, 60, jitter=jitter),
    ]
    for use in uses:
        with pytest.raises(InvalidInputError, match="jitter"):
            use()
    assert not service.exists(KEY)


@pytest.mark.parametrize("ttl", [math.nan, math.inf, -math.inf, 1e10, 1e300])
def test_a_life_ends(service: CacheService, ttl: float) -> None:
    uses: list[Callable[[], object]] = [
        lambda: service.set(KEY, 1, ttl),
        lambda: service.mset({KEY: 1}, ttl),
        lambda: service.set_nx(KEY, 1, ttl),
        lambda: service.expire(KEY, ttl),
        lambda: service.increment(KEY, ttl=ttl),
    ]
    for use in uses:
        with pytest.raises(InvalidInputError, match="ttl"):
            use()
    assert not service.exists(KEY)


def test_a_century_is_a_life(service: CacheService) -> None:
    assert service.set(KEY, 1, 100 * 365 * 86_400)
    assert service.get(KEY, int) == 1


# ── set_nx ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "there", [b"\x01V\x00\x001", b"\x01V\x00\x01{}", b"damaged", b"", codec.CLAIM_HEAD]
)
def test_set_nx_leaves_alone_whatever_is_there(
    service: CacheService, manager: CacheManager, there: bytes
) -> None:
    manager.client.set(KEY, there)
    assert service.set_nx(KEY, FILM, 60) is False
    assert manager.client.get(KEY) == there
    assert manager.client.ttl(KEY) == -1
    service.delete(KEY)
    assert service.set_nx(KEY, FILM, 60) is True
    assert service.get(KEY, Film) == FILM
    assert 0 < manager.client.ttl(KEY) <= 60


@pytest.mark.parametrize("retries", [0, 2])
def test_set_nx_whose_answer_is_lost_raises_and_is_not_repeated(
    store: StoreServer, connect: Connect, retries: int
) -> None:
    with (
        Proxy(store.port) as proxy,
        connect(store, retries=retries, cache_addr=proxy.addr) as manager,
    ):
        proxy.cut_after_request(b"NX")
        with pytest.raises(StoreUnavailableError):
            manager.service.set_nx(KEY, "mine", 60)
        assert proxy.idle
        assert manager.service.get(KEY, str) == "mine"


# ── counts and logs ─────────────────────────────────────────────────────────────────────────────


def test_reads_are_counted_by_what_they_found(service: CacheService, manager: CacheManager) -> None:
    assert manager.counts() == CacheCounts()
    assert manager.counts().hit_ratio is None
    service.set(KEY, 1, 60)
    service.get(KEY, int)
    service.mget([KEY, "seen:none"], int)
    service.get("seen:none", int)
    assert manager.counts() == CacheCounts(hits=2, misses=2)
    assert manager.counts().hit_ratio == 0.5
    service.set(KEY, "text", 60)
    service.get(KEY, int)
    assert manager.counts() == CacheCounts(hits=2, misses=3, unreadable=1)


def test_what_a_missing_store_costs_is_counted(
    store: StoreServer, connect: Connect, free_port: int
) -> None:
    with connect(store, cache_addr=f"127.0.0.1:{free_port}") as manager:
        service = manager.service
        service.get(KEY, int)
        service.mget([KEY, "seen:y"], int)
        service.set(KEY, 1, 60)
        service.mset({KEY: 1, "seen:y": 2}, 60)
        service.expire(KEY, 60)
        counts = manager.counts()
    assert counts == CacheCounts(misses=3, unavailable_reads=3, dropped_writes=4)
    assert counts.hit_ratio == 0.0


def test_claims_and_remembered_misses_are_no_old_versions(
    service: CacheService, manager: CacheManager
) -> None:
    missing = codec.encode_missing(Film, fresh_until_ms=2**45, took_ms=1)
    for raw in (missing, missing[:1] + b"C" + missing[2:]):
        manager.client.set(KEY, raw)
        assert service.get(KEY, Film) is None
        assert service.exists(KEY)
    assert manager.counts() == CacheCounts(misses=2)


def test_an_unreadable_value_is_logged_with_its_key(
    service: CacheService, manager: CacheManager, caplog: pytest.LogCaptureFixture
) -> None:
    manager.client.set("seen:catalog:search:neon::", b"\x01V\x00\x02nonsense")
    assert service.get("seen:catalog:search:neon::", Film) is None
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "seen:catalog:search:neon::" in record.getMessage()
    assert "Film" in record.getMessage()
    assert not service.exists("seen:catalog:search:neon::")


@pytest.mark.parametrize("read", ["get", "mget", "get_or_load", "get_session"])
def test_the_log_hides_whose_session_it_was(
    service: CacheService, manager: CacheManager, caplog: pytest.LogCaptureFixture, read: str
) -> None:
    key = service.keys.session_key("tell-nobody")
    manager.client.set(key, b'{"session_id": "tell-nobody"}')
    uses: dict[str, Callable[[], Any]] = {
        "get": lambda: service.get(key, int),
        "mget": lambda: service.mget([key], int),
        "get_or_load": lambda: service.get_or_load(key, int, lambda: None, 60),
        "get_session": lambda: manager.session.get_session("tell-nobody"),
    }
    uses[read]()
    digits = hashlib.sha256(b"tell-nobody").hexdigest()[:8]
    assert f"seen:session:#{digits}" in caplog.text
    assert "tell-nobody" not in caplog.text


def test_a_value_that_cannot_be_deleted_is_a_miss_all_the_same(
    private_store: StoreServer,
    connect: Connect,
    caplog: pytest.LogCaptureFixture,
    master: StoreServer,
) -> None:
    with connect(private_store) as manager:
        manager.client.set(KEY, b"nonsense")
        private_store.demote(master)
        assert manager.service.get(KEY, int) is None
        assert "could not be deleted" in caplog.text
        assert manager.client.exists(KEY)
