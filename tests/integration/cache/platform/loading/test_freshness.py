"""How long a loaded value is fresh, and which caller reloads it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from cache import CacheManager, CacheService
from cache.platform import codec
from tests.support.build import Connect
from tests.support.loading import Caller, HeldLoader, Loader
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until

KEY = "seen:load"


@pytest.fixture
def other(store: StoreServer, connect: Connect, manager: CacheManager) -> CacheManager:
    """A manager that knows of the first one by the store only, as in another process."""
    return connect(store)


def envelope(manager: CacheManager, key: str = KEY) -> codec.Envelope:
    """What stands around the value of a key."""
    raw: Any = manager.client.get(key)
    return codec.read_envelope(raw)


def wait_until_stale(manager: CacheManager) -> None:
    """Wait for the end of the value's freshness, by the server's clock."""
    fresh_until = envelope(manager).fresh_until_ms

    def is_stale() -> bool:
        seconds, microseconds = manager.client.time()
        return bool(seconds * 1000 + microseconds / 1000 > fresh_until + 1)

    wait_until(is_stale, interval=0.005, what="a stale value")


def slowly(value: int) -> Callable[[], int]:
    """A loader that takes some milliseconds."""

    def loader() -> int:
        time.sleep(0.02)
        return value

    return loader


# ── the end of freshness ────────────────────────────────────────────────────────────────────────


def test_a_loaded_value_lives_as_long_as_it_is_fresh(
    service: CacheService, manager: CacheManager
) -> None:
    service.get_or_load(KEY, int, Loader(1), 0.05)
    wait_until_stale(manager)
    assert service.get_or_load(KEY, int, Loader(2), 60) == 2


def test_a_stale_value_is_served_at_once_while_one_loads_it(
    service: CacheService, manager: CacheManager
) -> None:
    service.get_or_load(KEY, int, Loader(1), 0.05, stale_for=60)
    assert manager.client.pttl(KEY) > 59_000
    wait_until_stale(manager)
    held = HeldLoader(2)

    def load() -> int | None:
        return service.get_or_load(KEY, int, held, 60, stale_for=60)

    with Caller(load) as caller, held:
        assert held.started.wait(10)
        assert [load() for _ in range(5)] == [1] * 5
        assert service.get(KEY, int) == 1
        assert not caller.done
        held.let_go()
        assert caller.result() == 2
    assert load() == 2
    assert held.runs == 1
    counts = manager.counts()
    assert (counts.stale_hits, counts.loads, counts.early_loads) == (5, 2, 0)


def test_another_process_serves_the_stale_value_meanwhile(
    service: CacheService, manager: CacheManager, other: CacheManager
) -> None:
    service.get_or_load(KEY, int, Loader(1), 0.05, stale_for=60)
    wait_until_stale(manager)
    held, unused = HeldLoader(2), Loader(3)
    with (
        Caller(lambda: service.get_or_load(KEY, int, held, 60, stale_for=60)) as caller,
        held,
    ):
        assert held.started.wait(10)
        for _ in range(3):
            assert other.service.get_or_load(KEY, int, unused, 60, stale_for=60) == 1
        held.let_go()
        assert caller.result() == 2
    assert other.service.get_or_load(KEY, int, unused, 60, stale_for=60) == 2
    assert unused.runs == 0


def test_who_accepts_nothing_stale_waits_for_the_new_value(
    service: CacheService, manager: CacheManager
) -> None:
    service.get_or_load(KEY, int, Loader(1), 0.05, stale_for=60)
    wait_until_stale(manager)
    assert service.get_or_load(KEY, int, Loader(2), 60, stale_for=0) == 2


def test_a_stale_value_is_served_on_when_its_loader_fails(
    service: CacheService, manager: CacheManager, caplog: pytest.LogCaptureFixture
) -> None:
    service.get_or_load(KEY, int, Loader(1), 0.05, stale_for=60)
    wait_until_stale(manager)
    failing = Loader(LookupError("the database is down"))
    for _ in range(3):
        assert service.get_or_load(KEY, int, failing, 60, stale_for=60) == 1
    assert failing.runs == 3
    assert caplog.text.count("the database is down") == 3
    assert service.get_or_load(KEY, int, Loader(2), 60, stale_for=60) == 2


def test_a_stale_value_is_served_no_longer_than_was_said(
    service: CacheService, manager: CacheManager
) -> None:
    service.get_or_load(KEY, int, Loader(1), 0.05, stale_for=0.05)
    wait_until(lambda: not service.exists(KEY), what="the end of the stale value")
    with pytest.raises(LookupError):
        service.get_or_load(KEY, int, Loader(LookupError()), 60, stale_for=60)


def test_a_remembered_nothing_is_stale_after_its_own_time(
    service: CacheService, manager: CacheManager
) -> None:
    service.get_or_load(KEY, int, Loader(None), 60, miss_ttl=0.05, stale_for=60)
    wait_until_stale(manager)
    failing = Loader(LookupError())
    assert service.get_or_load(KEY, int, failing, 60, miss_ttl=0.05, stale_for=60) is None
    assert failing.runs == 1
    assert service.get_or_load(KEY, int, Loader(2), 60, stale_for=60) == 2


def test_jitter_shortens_freshness_and_life_alike(
    service: CacheService, manager: CacheManager
) -> None:
    lives = []
    for number in range(50):
        key = f"seen:{number}"
        service.get_or_load(key, int, Loader(1), 1000, stale_for=100, jitter=0.5)
        lives.append(manager.client.pttl(key))
        seconds, _ = manager.client.time()
        fresh_ms = envelope(manager, key).fresh_until_ms - seconds * 1000
        assert abs(lives[-1] - fresh_ms - 100_000) < 5_000
    assert 595_000 < min(lives) < 800_000 < max(lives) <= 1_100_000


# ── before it ───────────────────────────────────────────────────────────────────────────────────


def test_an_eager_reader_loads_before_the_end(service: CacheService, manager: CacheManager) -> None:
    service.get_or_load(KEY, int, slowly(1), 60)
    assert service.get_or_load(KEY, int, slowly(2), 60, early=1e9) == 2
    assert service.get(KEY, int) == 2
    counts = manager.counts()
    assert (counts.loads, counts.early_loads, counts.hits, counts.misses) == (2, 1, 2, 1)


def test_who_is_not_eager_never_does(service: CacheService, manager: CacheManager) -> None:
    service.get_or_load(KEY, int, slowly(1), 60)
    for _ in range(200):
        assert service.get_or_load(KEY, int, Loader(2), 60, early=0) == 1
    assert manager.counts().early_loads == 0


def test_the_closer_the_end_the_likelier_an_early_load(
    service: CacheService, manager: CacheManager
) -> None:
    """With `early` at a thousandth of the life, one reader in e^1000 loads; at the life itself, many."""
    service.get_or_load(KEY, int, slowly(1), 60)
    took_ms = envelope(manager).took_ms
    lifes = 60_000 / took_ms  # how many loads fit into the life

    def early_loads(early: float) -> int:
        before = manager.counts().early_loads
        for _ in range(100):
            service.get_or_load(KEY, int, slowly(1), 60, early=early)
        return manager.counts().early_loads - before

    assert early_loads(lifes / 1000) == 0
    # The share of readers is e^-1, of which the first changes took_ms only a little.
    assert 5 <= early_loads(lifes) <= 80


def test_others_are_served_while_an_eager_one_loads(
    service: CacheService, manager: CacheManager, other: CacheManager
) -> None:
    service.get_or_load(KEY, int, slowly(1), 60)
    held = HeldLoader(2)
    with Caller(lambda: service.get_or_load(KEY, int, held, 60, early=1e9)) as caller, held:
        assert held.started.wait(10)
        for one in (manager, other):
            assert one.service.get_or_load(KEY, int, held, 60, early=1e9) == 1
        held.let_go()
        assert caller.result() == 2
    assert held.runs == 1


def test_a_failed_early_load_leaves_the_value_served(
    service: CacheService, manager: CacheManager
) -> None:
    service.get_or_load(KEY, int, slowly(1), 60)
    before = manager.client.get(KEY)
    for _ in range(3):
        failing = Loader(LookupError())
        assert service.get_or_load(KEY, int, failing, 60, early=1e9) == 1
        assert failing.runs == 1
    assert manager.client.get(KEY) == before
    assert manager.client.pttl(KEY) > 50_000


# ── by whose clock ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("wrong_by", [-86_400, 86_400])
def test_freshness_goes_by_the_servers_clock(
    service: CacheService,
    manager: CacheManager,
    other: CacheManager,
    monkeypatch: pytest.MonkeyPatch,
    wrong_by: float,
) -> None:
    right = time.time
    with monkeypatch.context() as wrong:
        wrong.setattr(time, "time", lambda: right() + wrong_by)
        service.get_or_load(KEY, int, Loader(1), 60)
        seconds, _ = manager.client.time()
        fresh_until = envelope(manager).fresh_until_ms
        assert abs(fresh_until / 1000 - 60 - seconds) < 60
        assert service.get_or_load(KEY, int, Loader(2), 60) == 1
    assert other.service.get_or_load(KEY, int, Loader(3), 60) == 1
