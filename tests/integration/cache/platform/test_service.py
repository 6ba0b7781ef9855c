"""The low-level cache: typed values, lives, counters, and patterns without KEYS."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import BaseModel

from cache import CacheManager, CacheService, DownloadProgress
from domain.errors import InvalidInputError, StoreUnavailableError
from domain.job import JobStatus
from tests.support.build import Connect
from tests.support.servers.tcp_proxy import Proxy
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until


class Film(BaseModel):
    title: str
    year: int
    cast: list[str] = []


@dataclass
class Point:
    x: int
    y: int


FILM = Film(title="Neon – ü", year=2026, cast=["A", "B"])
MOMENT = datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "model"),
    [
        (FILM, Film),
        ([FILM, FILM], list[Film]),
        ({"a": FILM}, dict[str, Film]),
        (5, int),
        (2**63, int),
        (0, int),
        (False, bool),
        (1.5, float),
        ("", str),
        ("ü\0\n", str),
        (MOMENT, datetime),
        ([MOMENT], list[datetime]),
        ({"a", "b"}, set[str]),
        (Point(1, 2), Point),
        (JobStatus.WAITING, JobStatus),
        (DownloadProgress(job_id="1", status=JobStatus.QUEUED), DownloadProgress),
        ([], list[int]),
    ],
)
def test_a_value_comes_back_as_it_was(service: CacheService, value: Any, model: Any) -> None:
    service.set("seen:x", value, 60)
    found = service.get("seen:x", model)
    assert found == value
    assert type(found) is type(value)


def test_a_missing_key_is_none(service: CacheService) -> None:
    assert service.get("seen:none", Film) is None
    assert service.exists("seen:none") is False
    assert service.ttl("seen:none") is None
    assert service.expire("seen:none", 5) is False
    assert service.delete("seen:none") == 0


def test_a_value_lives_as_long_as_it_was_given(
    service: CacheService, manager: CacheManager
) -> None:
    service.set("seen:x", FILM, 90)
    assert 89_000 < manager.client.pttl("seen:x") <= 90_000
    left = service.ttl("seen:x")
    assert left is not None
    assert 89 < left <= 90
    assert service.expire("seen:x", 0.05)
    wait_until(lambda: service.get("seen:x", Film) is None, what="the end of the value")


def test_a_new_value_brings_its_own_life(service: CacheService) -> None:
    service.set("seen:x", 1, 9000)
    service.set("seen:x", 2, 10)
    left = service.ttl("seen:x")
    assert left is not None
    assert left <= 10


@pytest.mark.parametrize("ttl", [0, -1])
def test_a_life_is_more_than_nothing(service: CacheService, ttl: float) -> None:
    uses: list[Callable[[], object]] = [
        lambda: service.set("seen:x", 1, ttl),
        lambda: service.set_nx("seen:x", 1, ttl),
        lambda: service.mset({"seen:x": 1}, ttl),
        lambda: service.increment("seen:x", ttl=ttl),
        lambda: service.expire("seen:x", ttl),
    ]
    for use in uses:
        with pytest.raises(InvalidInputError, match="ttl"):
            use()
    assert not service.exists("seen:x")


def test_a_life_below_a_millisecond_is_one(service: CacheService) -> None:
    service.set("seen:x", 1, 0.0001)
    wait_until(lambda: not service.exists("seen:x"))


def test_a_key_without_a_life_has_none(service: CacheService) -> None:
    service.increment("seen:x", ttl=None)
    assert service.exists("seen:x")
    assert service.ttl("seen:x") is None


def test_several_keys_are_deleted_and_counted(service: CacheService) -> None:
    service.mset({"seen:a": 1, "seen:b": 2, "seen:c": 3}, 60)
    assert service.delete("seen:a", "seen:b", "seen:none") == 2
    assert service.delete() == 0
    assert service.mget(["seen:a", "seen:b", "seen:c"], int) == {"seen:c": 3}


def test_several_values_are_read_in_one_go(service: CacheService, manager: CacheManager) -> None:
    service.mset({f"seen:{number}": number for number in range(100)}, 60)
    keys = [f"seen:{number}" for number in range(-5, 105)]
    assert service.mget(keys, int) == {f"seen:{number}": number for number in range(100)}
    assert service.mget([], int) == {}
    service.mset({}, 60)
    assert all(manager.client.pttl(f"seen:{number}") > 0 for number in range(100))


def test_only_the_first_is_stored_where_nothing_was(service: CacheService) -> None:
    assert service.set_nx("seen:x", "first", 60) is True
    assert service.set_nx("seen:x", "second", 60) is False
    assert service.get("seen:x", str) == "first"
    assert service.ttl("seen:x") is not None


# ── values that do not fit ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("raw", [b"", b"{", b'{"title": "x"}', b"[]", b"\xff\xfe", b"null"])
def test_a_value_that_does_not_fit_is_a_miss_and_is_deleted(
    service: CacheService, manager: CacheManager, raw: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    manager.client.set("seen:film", raw)
    with caplog.at_level(logging.WARNING):
        assert service.get("seen:film", Film) is None
    assert "seen:film" in caplog.text
    assert not service.exists("seen:film")


def test_one_that_does_not_fit_does_not_spoil_the_others(
    service: CacheService, manager: CacheManager
) -> None:
    service.mset({"seen:a": 1, "seen:c": 3}, 60)
    manager.client.set("seen:b", b"secret-nonsense")
    assert service.mget(["seen:a", "seen:b", "seen:c"], int) == {"seen:a": 1, "seen:c": 3}
    assert not service.exists("seen:b")


def test_the_log_does_not_show_the_value(
    service: CacheService, manager: CacheManager, caplog: pytest.LogCaptureFixture
) -> None:
    manager.client.set("seen:x", b'{"title": "hunter2", "year": "hunter2"}')
    assert service.get("seen:x", Film) is None
    assert "hunter2" not in caplog.text


# ── counters ────────────────────────────────────────────────────────────────────────────────────


def test_a_counter_counts(service: CacheService) -> None:
    assert [service.increment("seen:n") for _ in range(3)] == [1, 2, 3]
    assert service.increment("seen:n", 10) == 13
    assert service.increment("seen:n", -3) == 10
    assert service.get("seen:n", int) == 10


def test_a_counter_gets_its_life_when_it_is_created(service: CacheService) -> None:
    service.increment("seen:n", ttl=50)
    service.increment("seen:n", ttl=5000)
    left = service.ttl("seen:n")
    assert left is not None
    assert 40 < left <= 50


def test_a_counter_expires_after_a_minute_unless_its_caller_says_otherwise(
    service: CacheService,
) -> None:
    service.increment("seen:n")
    left = service.ttl("seen:n")
    assert left is not None
    assert 30 < left <= 60
    service.increment("seen:kept", ttl=None)
    assert service.ttl("seen:kept") is None


def test_a_counter_starts_from_zero_after_its_ttl(service: CacheService) -> None:
    service.increment("seen:n", 5, ttl=0.05)
    wait_until(lambda: not service.exists("seen:n"))
    assert service.increment("seen:n", ttl=60) == 1


def test_threads_that_count_lose_nothing(service: CacheService) -> None:
    answers: list[int] = []

    def count() -> None:
        answers.extend(service.increment("seen:n", ttl=60) for _ in range(100))

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == list(range(1, 801))


@pytest.mark.parametrize("retries", [0, 2])
def test_a_lost_reply_never_counts_twice(
    store: StoreServer, retries: int, connect: Connect
) -> None:
    with (
        Proxy(store.port) as proxy,
        connect(store, retries=retries, cache_addr=proxy.addr) as manager,
    ):
        manager.service.increment("seen:n")
        proxy.cut_after_request(b"INCRBY")
        with pytest.raises(StoreUnavailableError):
            manager.service.increment("seen:n")
        assert proxy.idle
        assert manager.service.increment("seen:n") == 3


# ── patterns ────────────────────────────────────────────────────────────────────────────────────


def commands(manager: CacheManager) -> dict[str, int]:
    """How often the server has run each command."""
    found = manager.client.info("commandstats")
    return {name.removeprefix("cmdstat_").lower(): row["calls"] for name, row in found.items()}


def test_a_pattern_deletes_in_batches_and_never_asks_for_all_keys(
    service: CacheService, manager: CacheManager
) -> None:
    service.mset({f"seen:catalog:{number}": number for number in range(1234)}, 60)
    service.mset({"seen:user:1": 1, "seen:catalogue": 2}, 60)
    manager.client.set("other:catalog:1", "theirs")
    before = commands(manager)
    assert service.delete_by_pattern("seen:catalog:*") == 1234
    after = commands(manager)
    assert after.get("keys", 0) == before.get("keys", 0)
    assert 3 <= after["unlink"] - before.get("unlink", 0) <= 10
    assert sorted(manager.client.scan_iter(count=1000)) == [
        b"other:catalog:1",
        b"seen:catalogue",
        b"seen:user:1",
    ]


@pytest.mark.parametrize("pattern", ["*", "other:*", "s*", "[s]een:*", ""])
def test_a_pattern_outside_the_namespace_deletes_nothing(
    service: CacheService, manager: CacheManager, pattern: str
) -> None:
    manager.client.set("other:1", "theirs")
    service.set("seen:1", 1, 60)
    with pytest.raises(InvalidInputError, match="pattern"):
        service.delete_by_pattern(pattern)
    assert manager.client.dbsize() == 2


def test_an_identifier_full_of_globs_is_deleted_alone(service: CacheService) -> None:
    keys = service.keys
    service.mset({keys.user_key("*"): 1, keys.user_key("a"): 2, keys.user_key("[a]"): 3}, 60)
    assert service.delete_by_pattern(keys.user_key("*")) == 1
    assert service.get(keys.user_key("a"), int) == 2
    assert service.delete_by_pattern("seen:none:*") == 0
