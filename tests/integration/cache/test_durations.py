"""Lengths of time: seconds or a timedelta wherever one is taken, and never a length that cannot be."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

import cache
from cache import CacheManager, RateLimit, SlotRequest
from cache.coordination.limit_models import Demand
from domain.errors import InvalidInputError

Use = Callable[[CacheManager, Any], Any]


def _load(manager: CacheManager, **options: Any) -> int | None:
    return manager.service.get_or_load("seen:x", int, lambda: 7, 60, **options)


#: Every method that takes a TTL: zero is none.
TTLS: dict[str, Use] = {
    "service.set": lambda m, t: m.service.set("seen:x", 1, t),
    "service.mset": lambda m, t: m.service.mset({"seen:x": 1}, t),
    "service.set_nx": lambda m, t: m.service.set_nx("seen:x", 1, t),
    "service.expire": lambda m, t: m.service.set("seen:x", 1, 9) and m.service.expire("seen:x", t),
    "service.increment": lambda m, t: m.service.increment("seen:x", ttl=t),
    "get_or_load ttl": lambda m, t: m.service.get_or_load("seen:x", int, lambda: 7, t),
    "get_or_load miss_ttl": lambda m, t: m.service.get_or_load(
        "seen:x", int, lambda: None, 60, miss_ttl=t
    ),
    "get_or_load load_timeout": lambda m, t: m.service.get_or_load(
        "seen:y", int, lambda: 7, 60, load_timeout=t
    ),
    "entry.get_or_load miss_ttl": lambda m, t: m.catalog.dashboard("x", int).get_or_load(
        lambda: None, miss_ttl=t
    ),
    "session.acquire_lock": lambda m, t: m.session.acquire_lock("x", t),
    "session.extend_lock": lambda m, t: m.session.extend_lock("x", "token", t),
    "session.lock": lambda m, t: m.session.lock("x", ttl=t),
    "manager.lock": lambda m, t: m.lock("x", ttl=t),
    "rate_limit_check": lambda m, t: m.session.rate_limit_check("ada", "call", 5, t),
    "RateLimit": lambda m, t: m.session.rate_limits_check("ada", "c", [RateLimit(limit=5, window=t)]),
    "limits.take_slots": lambda m, t: m.limits.take_slots("downloads:a", "job-1", 1, 2, t),
    "limits.renew_slots": lambda m, t: m.limits.renew_slots([("downloads:a", "job-1")], t),
    "limits.acquire_slots": lambda m, t: m.limits.acquire_slots(
        "a", "job-1", [SlotRequest("downloads:a", 1, 2)], t
    ),
    "limits.start_cooldown": lambda m, t: m.limits.start_cooldown("a", t, "busy"),
    "limits.share_demands": lambda m, t: m.limits.share_demands("w", {"total": Demand()}, t),
}  # fmt: skip

#: Every method that takes another length of time, which may be zero.
LENGTHS: dict[str, Use] = {
    "get_or_load stale_for": lambda m, t: _load(m, stale_for=t),
    "get_or_load wait": lambda m, t: _load(m, wait=t),
    "session.lock wait": lambda m, t: m.session.lock("x", wait=t),
    "cleanup_stale_progress": lambda m, t: m.download.cleanup_stale_progress(t),
    "run_maintenance": lambda m, t: m.run_maintenance(stale_after=t),
    "beat.claim": lambda m, t: m.beat.claim("download.purge", "host:1", t),
    "workers.running": lambda m, t: m.workers.running(t),
}
ALL = TTLS | LENGTHS

GOOD = [60, 60.0, timedelta(minutes=1), 1.5, timedelta(milliseconds=1500), timedelta(days=30)]
NEVER: dict[str, Any] = {
    "negative": -1,
    "a negative timedelta": timedelta(seconds=-1),
    "nan": math.nan,
    "inf": math.inf,
    "-inf": -math.inf,
    "True": True,
    "more than a century": 10**10,
    "10**400": 10**400,
    "timedelta.max": timedelta.max,
    "text": "60",
    "bytes": b"60",
    "complex": 1j,
}
ZERO = {"0": 0, "0.0": 0.0, "timedelta(0)": timedelta()}


@pytest.mark.parametrize("name", ALL)
def test_seconds_and_a_timedelta_are_taken(manager: CacheManager, name: str) -> None:
    for length in GOOD:
        ALL[name](manager, length)


@pytest.mark.parametrize("name", ALL)
def test_a_length_that_cannot_be_is_refused_with_a_sentence(
    manager: CacheManager, name: str
) -> None:
    for what, length in (NEVER | (ZERO if name in TTLS else {})).items():
        with pytest.raises(InvalidInputError) as caught:
            ALL[name](manager, length)
        assert str(caught.value).endswith("."), what
        assert "is not valid" in str(caught.value), what


@pytest.mark.parametrize("length", [90, 90.0, timedelta(minutes=1, seconds=30)])
def test_both_mean_the_same_ttl(manager: CacheManager, length: Any) -> None:
    made: dict[str, Callable[[], object]] = {
        "seen:x": lambda: manager.service.set("seen:x", 1, length),
        "seen:n": lambda: manager.service.increment("seen:n", ttl=length),
        "seen:y": lambda: manager.service.get_or_load("seen:y", int, lambda: 7, length),
        "seen:lock:z": lambda: manager.session.acquire_lock("z", length),
        "seen:cooldown:a": lambda: manager.limits.start_cooldown("a", length, "busy"),
    }
    for key, make in made.items():
        make()
        assert 80_000 < manager.client.pttl(key) <= 90_000, key


def test_a_ttl_below_a_millisecond_is_one(manager: CacheManager) -> None:
    assert manager.service.set("seen:x", 1, timedelta(microseconds=1))
    assert manager.service.set("seen:x", 1, 5e-324)


def test_a_lock_of_a_timedelta_is_renewed(manager: CacheManager) -> None:
    with manager.session.lock("x", ttl=timedelta(seconds=30), wait=timedelta(seconds=1)) as lease:
        assert lease.is_alive()
        assert 20_000 < manager.client.pttl("seen:lock:x") <= 30_000


def test_the_default_ttls_are_exported() -> None:
    assert {name: getattr(cache, name) for name in dir(cache) if name.startswith("TTL_")} == {
        "TTL_SESSION": 24 * 3600,
        "TTL_USER": 15 * 60,
        "TTL_CATALOG": 5 * 60,
        "TTL_DOWNLOAD": 30,
        "TTL_RATE_LIMIT": 60,
        "TTL_LOCK": 30,
        "TTL_SEARCH": 10 * 60,
        "TTL_RECOMMENDATION": 3600,
    }
