"""A lock for a block of code: renewed while it runs, given back at its end, not believed in too long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from cache import CacheManager, LockLease
from cache.clock import lease_clock
from cache.store import scripts
from domain.errors import InvalidInputError, LeaseLostError, LockTakenError, StoreUnavailableError
from tests.support.build import Connect
from tests.support.servers.tcp_proxy import Proxy
from tests.support.stores.commands import commands, commands_since
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until

KEY = "seen:lock:x"


class OfTheBlockError(Exception):
    """What went wrong in a block."""


def passed(seconds: float) -> Callable[[], bool]:
    """A condition that becomes true after so many seconds."""
    end = time.monotonic() + seconds
    return lambda: time.monotonic() > end


# ── held, renewed, let go ───────────────────────────────────────────────────────────────────────


def test_a_lock_is_held_while_its_block_runs(manager: CacheManager) -> None:
    with manager.session.lock("x") as hold:
        assert hold.is_alive()
        hold.check()
        assert manager.client.get(KEY) == hold.lock.token.encode()
        assert 25_000 < manager.client.pttl(KEY) <= 30_000
        assert not manager.session.acquire_lock("x").acquired
    assert not manager.client.exists(KEY)
    assert not hold.is_alive()
    with pytest.raises(LeaseLostError):
        hold.check()


def test_it_is_renewed_for_longer_than_its_life(manager: CacheManager) -> None:
    with manager.session.lock("x", ttl=0.9) as hold:
        over = passed(2)
        while not over():
            assert hold.is_alive()
            assert not manager.session.acquire_lock("x").acquired
    assert not manager.client.exists(KEY)


def test_it_may_be_taken_again_and_again(manager: CacheManager) -> None:
    hold = manager.session.lock("x", ttl=0.9)
    for _ in range(2):
        with hold:
            assert hold.is_alive()
            wait_until(passed(1))
            hold.check()
        assert not manager.client.exists(KEY)


def test_an_error_of_the_block_comes_through_and_the_lock_is_free(manager: CacheManager) -> None:
    with pytest.raises(OfTheBlockError), manager.session.lock("x"):
        raise OfTheBlockError
    assert not manager.client.exists(KEY)


@pytest.mark.parametrize("ttl", [0, -1])
def test_a_lock_has_a_life(manager: CacheManager, ttl: float) -> None:
    for make in (manager.session.lock, manager.lock):
        with pytest.raises(InvalidInputError, match="ttl"):
            make("x", ttl=ttl)


# ── of another holder────────────────────────────────────────────────────────────────────────────


def test_a_taken_lock_raises_at_once(manager: CacheManager) -> None:
    grant = manager.session.acquire_lock("x")
    before = commands(manager.client)
    with pytest.raises(LockTakenError, match=KEY) as caught, manager.session.lock("x"):
        pytest.fail("two are inside")
    assert caught.value.key == KEY
    assert commands_since(manager.client, before)["set"] == 1
    assert manager.client.get(KEY) == grant.lock_id.encode()


def test_who_waits_gets_it_when_it_is_free(manager: CacheManager) -> None:
    grant = manager.session.acquire_lock("x")
    before = commands(manager.client)
    inside = threading.Event()

    def wait() -> None:
        with manager.session.lock("x", wait=60):
            inside.set()

    thread = threading.Thread(target=wait)
    thread.start()
    wait_until(lambda: commands_since(manager.client, before).get("set", 0) >= 3)
    assert not inside.is_set()
    assert manager.session.release_lock("x", grant.lock_id)
    assert inside.wait(10)
    thread.join()


def test_a_wait_in_vain_raises_at_its_end(manager: CacheManager) -> None:
    manager.session.acquire_lock("x")
    begin = time.monotonic()
    with pytest.raises(LockTakenError), manager.session.lock("x", wait=0.4):
        pytest.fail("two are inside")
    assert time.monotonic() - begin >= 0.4


def test_who_waits_looks_once_more_at_the_very_end(manager: CacheManager) -> None:
    manager.session.acquire_lock("x", 0.48)
    with manager.session.lock("x", wait=0.5) as hold:
        assert hold.is_alive()


# ── lost ────────────────────────────────────────────────────────────────────────────────────────


def hold_for(
    manager: CacheManager, block: Callable[[LockLease], object], *, ttl: float = 30.0
) -> None:
    """Hold the lock while a block runs."""
    with manager.session.lock("x", ttl=ttl) as hold:
        block(hold)


def lose(manager: CacheManager, thief: str) -> None:
    """Take the lock from its holder."""
    if thief == "no holder":
        manager.client.delete(KEY)
    else:
        manager.client.set(KEY, "theirs", px=60_000)


def owner(manager: CacheManager) -> str:
    """Who has the lock in the end."""
    held = manager.client.get(KEY)
    return "no holder" if held is None else "another" if held == b"theirs" else "we"


@pytest.mark.parametrize("thief", ["no holder", "another"])
def test_a_lost_lock_is_noticed_and_reported(manager: CacheManager, thief: str) -> None:
    def block(hold: LockLease) -> None:
        lose(manager, thief)
        begin = lease_clock()
        wait_until(lambda: not hold.is_alive(), what="the renewal that fails")
        assert lease_clock() - begin < 2  # that of the first second; by the clock it is 2.5
        with pytest.raises(LeaseLostError):
            hold.check()

    with pytest.raises(LeaseLostError, match=KEY):
        hold_for(manager, block, ttl=3)
    assert owner(manager) == thief


@pytest.mark.parametrize("thief", ["no holder", "another"])
def test_a_lock_lost_since_its_last_renewal_raises_at_the_end(
    manager: CacheManager, thief: str
) -> None:
    def block(hold: LockLease) -> None:
        lose(manager, thief)
        assert hold.is_alive()  # no renewal has run yet

    with pytest.raises(LeaseLostError):
        hold_for(manager, block)
    assert owner(manager) == thief


def test_an_error_of_the_block_is_not_hidden_by_a_lost_lock(manager: CacheManager) -> None:
    def block(hold: LockLease) -> None:
        lose(manager, "another")
        raise OfTheBlockError

    with pytest.raises(OfTheBlockError):
        hold_for(manager, block)


# ── the store goes away ─────────────────────────────────────────────────────────────────────────


def test_a_hold_that_cannot_be_renewed_is_over_before_the_lock(
    private_store: StoreServer, connect: Connect
) -> None:
    with connect(private_store, cache_budget=0.1) as manager:

        def block(hold: LockLease) -> None:
            private_store.pause()
            begin = lease_clock()
            wait_until(lambda: not hold.is_alive(), what="the end of the hold")
            assert lease_clock() - begin > 0.5  # it is not given up at the first miss
            private_store.resume()
            assert manager.client.get(KEY) == hold.lock.token.encode()
            raise OfTheBlockError

        with pytest.raises(OfTheBlockError):
            hold_for(manager, block, ttl=3)


def test_a_dead_store_raises_once_the_lock_cannot_be_renewed(
    private_store: StoreServer, connect: Connect
) -> None:
    with connect(private_store, cache_budget=0.1) as manager:

        def block(hold: LockLease) -> None:
            private_store.kill()
            wait_until(lambda: not hold.is_alive())

        with pytest.raises(LeaseLostError):
            hold_for(manager, block, ttl=0.6)


def test_a_store_that_dies_at_the_end_changes_nothing_about_the_block(
    private_store: StoreServer, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    with connect(private_store) as manager:
        with manager.session.lock("x"):
            private_store.kill()
        assert "was not released and expires by itself" in caplog.text


def test_without_a_store_nothing_is_held(private_store: StoreServer, connect: Connect) -> None:
    with connect(private_store) as manager:
        private_store.kill()
        with pytest.raises(StoreUnavailableError), manager.session.lock("x", wait=60):
            pytest.fail("a lock that was not granted")


def test_a_renewal_that_gets_lost_is_tried_again(
    store: StoreServer, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        Proxy(store.port) as proxy,
        connect(store, cache_addr=proxy.addr, cache_budget=0.1) as manager,
        manager.session.lock("x", ttl=1.5) as hold,
    ):
        proxy.drop_next_reply(scripts.digest("lock_extend").encode())
        over = passed(3)
        while not over():
            assert hold.is_alive()
        assert proxy.idle
        assert "could not be renewed, trying again" in caplog.text


def test_a_lost_answer_to_the_release_is_no_lost_lock(store: StoreServer, connect: Connect) -> None:
    """Asked a second time, the store would say that the lock was no longer ours."""
    with Proxy(store.port) as proxy, connect(store, cache_addr=proxy.addr) as manager:
        with manager.session.lock("x"):
            proxy.cut_after_request(scripts.digest("lock_release").encode())
        assert proxy.idle
        assert not manager.client.exists(KEY)
