"""The lock: one holder, identified by its token, and never granted by a store that does not answer."""

from __future__ import annotations

import multiprocessing
import threading
import time

import pytest

from cache import CacheManager
from cache.coordination.lock import extend_all
from domain.errors import StoreUnavailableError
from settings import Settings
from tests.support.build import Connect, cache_manager
from tests.support.servers.tcp_proxy import Proxy
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until

SET = b"\r\nSET\r\n"


def test_one_holder_at_a_time(manager: CacheManager) -> None:
    first, second = manager.lock("x"), manager.lock("x")
    assert first.acquire()
    assert not second.acquire()
    assert first.release()
    assert second.acquire()


def test_locks_of_different_resources_do_not_meet(manager: CacheManager) -> None:
    assert manager.lock("x").acquire()
    assert manager.lock("y").acquire()
    assert manager.download_lock("x").acquire()
    assert not manager.lock("download:x").acquire()


def test_a_lock_cannot_be_acquired_twice(manager: CacheManager) -> None:
    lock = manager.lock("x")
    assert lock.acquire()
    token = lock.token
    assert not lock.acquire()
    assert lock.token == token
    assert lock.release()
    assert not lock.release()


def test_each_acquisition_has_a_token_of_its_own(manager: CacheManager) -> None:
    lock, tokens = manager.lock("x"), set()
    for _ in range(3):
        assert lock.acquire()
        tokens.add(lock.token)
        assert lock.release()
    assert len(tokens) == 3


def test_only_the_holders_token_releases_and_extends(manager: CacheManager) -> None:
    holder, other = manager.lock("x", ttl=60), manager.lock("x", ttl=600)
    holder.acquire()
    assert not other.release()
    assert not other.extend()
    assert 50_000 < manager.client.pttl(holder.key) <= 60_000
    assert manager.client.get(holder.key) == holder.token.encode()


def test_tokens_are_long_and_never_the_same(manager: CacheManager) -> None:
    tokens = {manager.lock("x").token for _ in range(1000)}
    assert len(tokens) == 1000
    assert min(map(len, tokens)) >= 20


def test_a_lock_expires_by_itself(manager: CacheManager) -> None:
    first, second = manager.lock("x", ttl=0.05), manager.lock("x")
    assert first.acquire()
    wait_until(second.acquire, what="the end of the first lock's life")
    assert not first.extend()
    assert not first.release()
    assert manager.client.get(second.key) == second.token.encode()


def test_extending_gives_a_new_life(manager: CacheManager) -> None:
    lock = manager.lock("x", ttl=60)
    lock.acquire()
    manager.client.pexpire(lock.key, 1000)
    assert lock.extend()
    assert 50_000 < manager.client.pttl(lock.key) <= 60_000


def test_a_lock_always_has_a_life(manager: CacheManager) -> None:
    lock = manager.lock("tiny", ttl=0.0001)
    assert lock.acquire()
    wait_until(lambda: not manager.client.exists(lock.key))


def test_several_are_extended_in_one_round_trip(store: StoreServer) -> None:
    with Proxy(store.port) as proxy, cache_manager(store, cache_addr=proxy.addr) as manager:
        locks = [manager.lock(f"x{number}", ttl=60) for number in range(50)]
        for lock in locks[:25]:
            lock.acquire()
        assert extend_all(locks[:1]) == [True]  # the script is known from here on
        before = proxy.round_trips
        assert extend_all(locks) == [True] * 25 + [False] * 25
        # One, but that the reply to its beginning may overtake its end.
        assert proxy.round_trips - before <= 5
        assert extend_all([]) == []


def test_scripts_are_loaded_again_after_a_flush(manager: CacheManager) -> None:
    lock = manager.lock("x")
    lock.acquire()
    manager.client.script_flush()
    assert lock.extend()
    manager.client.script_flush()
    assert lock.release()


# ── lost replies ────────────────────────────────────────────────────────────────────────────────


def test_a_repeated_acquire_finds_its_own_token(store: StoreServer, connect: Connect) -> None:
    with (
        Proxy(store.port) as proxy,
        connect(store, retries=2, cache_addr=proxy.addr) as manager,
    ):
        manager.ping()
        lock = manager.lock("x")
        proxy.cut_after_request(SET)
        assert lock.acquire()
        assert proxy.idle
        assert manager.client.get(lock.key) == lock.token.encode()
        assert not manager.lock("x").acquire()


def test_a_repeated_acquire_does_not_take_a_strangers_lock(
    store: StoreServer, connect: Connect
) -> None:
    with (
        Proxy(store.port) as proxy,
        connect(store, retries=2, cache_addr=proxy.addr) as manager,
        connect(store) as other,
    ):
        manager.ping()
        assert other.lock("x").acquire()
        proxy.cut_after_request(SET)
        assert not manager.lock("x").acquire()


def test_without_a_reply_the_lock_is_not_granted(store: StoreServer, connect: Connect) -> None:
    with Proxy(store.port) as proxy, connect(store, cache_addr=proxy.addr) as manager:
        manager.ping()
        lock = manager.lock("x")
        proxy.cut_after_request(SET)
        with pytest.raises(StoreUnavailableError):
            lock.acquire()
        # The server had granted it; the same attempt, made again, finds that out.
        assert lock.acquire()


@pytest.mark.parametrize("use", ["acquire", "extend", "release"])
@pytest.mark.parametrize("how", ["dead", "silent"])
def test_a_store_that_does_not_answer_grants_nothing(
    private_store: StoreServer, use: str, how: str, connect: Connect
) -> None:
    with connect(private_store, cache_timeout=0.1) as manager:
        lock = manager.lock("x")
        lock.acquire()
        if how == "dead":
            private_store.kill()
        else:
            private_store.pause()
        with pytest.raises(StoreUnavailableError):
            getattr(lock, use)()


# ── contention ──────────────────────────────────────────────────────────────────────────────────────


def contest(store_port: int, password: str, rounds: int) -> int:
    """Acquire and release one lock many times; return how often another holder was inside, too."""
    settings = Settings(cache_addr=f"127.0.0.1:{store_port}", cache_password=password)
    clashes = done = 0
    end = time.monotonic() + 60
    with CacheManager.connect(settings) as manager:
        while done < rounds and time.monotonic() < end:
            lock = manager.lock("arena")
            if not lock.acquire():
                continue
            clashes += manager.service.increment("seen:inside") != 1
            manager.service.increment("seen:inside", -1)
            clashes += not lock.release()
            done += 1
    assert done == rounds
    return clashes


def test_two_threads_never_hold_the_lock(store: StoreServer) -> None:
    clashes: list[int] = []
    threads = [
        threading.Thread(target=lambda: clashes.append(contest(store.port, store.password, 40)))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert clashes == [0] * 6


def test_two_processes_never_hold_the_lock(store: StoreServer) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        arguments = [(store.port, store.password, 60)] * 3
        assert pool.starmap(contest, arguments, chunksize=1) == [0, 0, 0]
        pool.close()
        pool.join()


def test_a_grant_is_true_only_when_the_lock_was_acquired(manager: CacheManager) -> None:
    assert manager.session.acquire_lock("x")
    assert not manager.session.acquire_lock("x")
