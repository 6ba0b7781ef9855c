"""`get_or_load` while other callers delete, set, load, fail or give up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cache import CacheManager, CacheService
from cache.platform import codec
from cache.store import scripts
from tests.support.build import Connect
from tests.support.loading import Caller, HeldLoader, Loader
from tests.support.servers.tcp_proxy import Proxy
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until

KEY = "seen:load"
#: Accepts what has been stale since 1970.
AGES = 3e9


@pytest.fixture
def other(store: StoreServer, connect: Connect, manager: CacheManager) -> CacheService:
    """A service that knows of the first one by the store only, as in another process."""
    return connect(store).service


def loading(
    service: CacheService, loader: Callable[[], int | None], **options: float
) -> Callable[[], int | None]:
    """A call that loads the key."""
    return lambda: service.get_or_load(KEY, int, loader, 60, **options)


def make_stale(manager: CacheManager) -> None:
    """Have the value's freshness end in 1970."""
    manager.client.setrange(KEY, 33, bytes(8))


# ── deletions and sets ──────────────────────────────────────────────────────────────────────────

DELETIONS: dict[str, Callable[[CacheManager], object]] = {
    "delete": lambda manager: manager.service.delete(KEY),
    "pattern": lambda manager: manager.service.delete_by_pattern("seen:lo*"),
    "flush": lambda manager: manager.client.flushdb(),
    "expiry": lambda manager: manager.client.pexpire(KEY, 0),
}


@pytest.mark.parametrize("delete", DELETIONS.values(), ids=DELETIONS)
def test_what_is_deleted_while_it_is_loaded_is_not_stored(
    manager: CacheManager, delete: Callable[[CacheManager], object]
) -> None:
    def loader() -> int:
        delete(manager)
        return 1

    assert loading(manager.service, loader)() == 1
    assert not manager.service.exists(KEY)
    assert manager.counts().dropped_writes == 1


@pytest.mark.parametrize("delete", DELETIONS.values(), ids=DELETIONS)
def test_a_value_deleted_during_its_reload_is_not_stored(
    manager: CacheManager, delete: Callable[[CacheManager], object]
) -> None:
    def loader() -> int:
        delete(manager)
        return 2

    loading(manager.service, Loader(1), stale_for=60)()
    make_stale(manager)
    assert loading(manager.service, loader, stale_for=AGES)() == 2
    assert not manager.service.exists(KEY)


def test_what_is_set_while_it_is_loaded_stays(service: CacheService) -> None:
    def loader() -> int:
        service.set(KEY, 7, 60)
        return 1

    assert loading(service, loader)() == 1
    assert service.get(KEY, int) == 7


def test_what_is_set_between_look_and_claim_is_served(store: StoreServer, connect: Connect) -> None:
    unused = Loader(1)
    with (
        Proxy(store.port) as proxy,
        connect(store, cache_addr=proxy.addr) as late,
        connect(store) as early,
    ):
        loading(late.service, Loader(0))()
        early.service.delete(KEY)
        proxy.before(scripts.digest("load_claim").encode(), lambda: early.service.set(KEY, 7, 60))
        assert loading(late.service, unused)() == 7
        assert proxy.idle
        assert early.service.get(KEY, int) == 7
    assert unused.runs == 0


def test_a_failing_loader_does_not_delete_what_was_set_meanwhile(service: CacheService) -> None:
    def loader() -> int:
        service.set(KEY, 7, 60)
        raise LookupError

    with pytest.raises(LookupError):
        loading(service, loader)()
    assert service.get(KEY, int) == 7


def test_who_comes_after_a_deletion_does_not_get_what_was_read_before(
    service: CacheService, other: CacheService
) -> None:
    before, after = HeldLoader(1), Loader(2)
    with Caller(loading(service, before)) as caller, before:
        assert before.started.wait(10)
        service.delete(KEY)
        assert loading(service, after, wait=60)() == 2
        assert loading(other, after, wait=60)() == 2
        before.let_go()
        assert caller.result() == 1
    assert service.get(KEY, int) == 2
    assert after.runs == 1


def test_who_comes_after_a_deletion_shares_the_new_load(service: CacheService) -> None:
    before, after, unused = HeldLoader(1), HeldLoader(2), Loader(3)
    with (
        Caller(loading(service, before)) as caller,
        before,
        Caller(lambda: service.delete(KEY) if before.started.wait(10) else None) as deleting,
    ):
        assert deleting.result() == 1
        with Caller(loading(service, after)) as newcomer, after:
            assert after.started.wait(10)
            before.let_go()  # its landing must not end the new flight
            assert caller.result() == 1
            with Caller(loading(service, unused, wait=60)) as joining:
                after.let_go()
                assert newcomer.result() == joining.result() == 2
    assert unused.runs == 0


# ── other loaders ───────────────────────────────────────────────────────────────────────────────


def test_another_process_waits_for_the_one_that_loads(
    service: CacheService, other: CacheService
) -> None:
    held, unused = HeldLoader(1), Loader(2)
    with (
        Caller(loading(service, held, wait=60)) as caller,
        held,
    ):
        assert held.started.wait(10)
        with Caller(loading(other, unused, wait=60)) as waiting:
            held.let_go()
            assert caller.result() == waiting.result() == 1
    assert unused.runs == 0


def test_another_process_loads_when_the_first_one_fails(
    service: CacheService, other: CacheService
) -> None:
    held = HeldLoader(LookupError("no such film"))
    with Caller(loading(service, held)) as caller, held:
        assert held.started.wait(10)
        with Caller(loading(other, Loader(2), wait=60)) as waiting:
            held.let_go()
            with pytest.raises(LookupError, match="no such film"):
                caller.result()
            assert waiting.result() == 2
    assert service.get(KEY, int) == 2


@pytest.mark.parametrize("wait", [0, 0.05])
def test_who_has_waited_long_enough_loads_alone_and_stores_nothing(
    service: CacheService, other: CacheService, wait: float
) -> None:
    held = HeldLoader(1)
    with Caller(loading(service, held)) as caller, held:
        assert held.started.wait(10)
        for one in (service, other):
            own = Loader(2)
            assert loading(one, own, wait=wait)() == 2
            assert own.runs == 1
            assert one.get(KEY, int) is None
        held.let_go()
        assert caller.result() == 1
    assert other.get(KEY, int) == 1


def test_a_loader_that_takes_too_long_loses_its_claim(
    service: CacheService, other: CacheService
) -> None:
    held = HeldLoader(1)
    with Caller(loading(service, held, load_timeout=0.05)) as caller, held:
        assert held.started.wait(10)
        wait_until(lambda: not service.exists(KEY), what="the end of the claim")
        assert loading(other, Loader(2), wait=60)() == 2
        held.let_go()
        assert caller.result() == 1
    assert service.get(KEY, int) == 2


def test_the_claim_on_a_stale_value_ends_too(
    manager: CacheManager, service: CacheService, other: CacheService
) -> None:
    loading(service, Loader(1), stale_for=60)()
    make_stale(manager)
    held, next_one = HeldLoader(2), Loader(3)
    with Caller(loading(service, held, stale_for=AGES, load_timeout=0.05)) as caller, held:
        assert held.started.wait(10)
        wait_until(lambda: loading(other, next_one, stale_for=AGES)() == 3, what="a new claim")
        held.let_go()
        assert caller.result() == 2
    assert service.get(KEY, int) == 3
    assert next_one.runs == 1


# ── what ends a loader early ────────────────────────────────────────────────────────────────────


class Halt(BaseException):
    """Such as an exit, an interrupt, a cancellation."""


def test_a_loader_that_is_ended_gives_its_claim_up(
    service: CacheService, other: CacheService
) -> None:
    with pytest.raises(Halt):
        loading(service, Loader(Halt()))()
    assert not service.exists(KEY)
    for one in (service, other):
        assert loading(one, Loader(2), wait=60)() == 2


def test_a_renewal_that_is_ended_leaves_the_old_value(
    service: CacheService, manager: CacheManager
) -> None:
    loading(service, Loader(1), stale_for=60)()
    make_stale(manager)
    before = manager.client.get(KEY)
    with pytest.raises(Halt):
        loading(service, Loader(Halt()), stale_for=AGES)()
    assert manager.client.get(KEY) == before
    assert loading(service, Loader(2), stale_for=AGES)() == 2


def test_a_claim_has_the_bytes_that_the_codec_says(
    service: CacheService, manager: CacheManager
) -> None:
    def loader() -> int:
        raw: Any = manager.client.get(KEY)
        assert len(raw) == codec.LOADED_HEAD_BYTES
        assert raw.startswith(codec.CLAIM_HEAD)
        assert raw.endswith(codec.CLAIM_TAIL)
        assert codec.read_envelope(raw).kind == codec.CLAIM
        assert 0 < manager.client.pttl(KEY) <= 5_000
        seconds, _ = manager.client.time()
        assert 0 <= int(raw[20:33]) / 1000 - seconds <= 6
        return 1

    assert loading(service, loader, load_timeout=5)() == 1
