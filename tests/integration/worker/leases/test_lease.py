"""Leases: renewed while held, over before the lock can expire, never taken from another holder."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

import pytest

from cache import CacheManager, Lock
from cache.clock import lease_clock
from domain.errors import LeaseLostError, StoreUnavailableError
from tests.support.build import cache_manager
from tests.support.servers.tcp_proxy import Proxy
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until
from worker.leases.drain import Drain
from worker.leases.lease import Lease, LeaseManager
from worker.leases.stop_signal import StopSignal

TTL = 1.0


@pytest.fixture
def manager(store: StoreServer) -> Iterator[CacheManager]:
    with cache_manager(store, lock_ttl=TTL) as manager:
        yield manager


@pytest.fixture
def leases() -> Iterator[LeaseManager]:
    with LeaseManager(ttl=TTL) as leases:
        yield leases


@pytest.fixture
def stop() -> StopSignal:
    return StopSignal(Drain())


def hold(leases: LeaseManager, lock: Lock, stop: StopSignal) -> Lease:
    lease = leases.acquire(lock, stop)
    assert lease is not None
    return lease


def holder(manager: CacheManager, job_id: str = "job-1") -> bytes | None:
    found = manager.client.get(manager.keys.download_lock_key(job_id))
    assert found is None or isinstance(found, bytes)
    return found


def test_a_held_lock_is_renewed_for_as_long_as_it_is_held(
    manager: CacheManager, leases: LeaseManager, stop: StopSignal
) -> None:
    lock = manager.download_lock("job-1")
    started = lease_clock()
    lease = hold(leases, lock, stop)
    # Longer than its TTL: without renewal it would be gone.
    wait_until(lambda: lease_clock() - started > 1.5 * TTL or not holder(manager), interval=0.01)
    assert holder(manager) == lock.token.encode()
    lease.check()
    assert stop.error is None
    leases.release(lease)
    assert holder(manager) is None
    assert leases.renew_all() is True
    assert stop.error is None


def test_a_lock_of_another_holder_is_not_held(
    manager: CacheManager, leases: LeaseManager, stop: StopSignal
) -> None:
    other = manager.lock("download:job-1", ttl=60)
    assert other.acquire()
    assert leases.acquire(manager.download_lock("job-1"), stop) is None
    assert holder(manager) == other.token.encode()


def test_without_an_answer_nothing_is_held(
    private_store: StoreServer, leases: LeaseManager, stop: StopSignal
) -> None:
    with cache_manager(private_store) as manager:
        private_store.kill()
        with pytest.raises(StoreUnavailableError):
            leases.acquire(manager.download_lock("job-1"), stop)
    assert stop.error is None
    assert leases.renew_all() is True


@pytest.mark.parametrize("how", ["deleted", "taken"])
def test_a_lock_that_is_gone_stops_its_holder(
    manager: CacheManager, leases: LeaseManager, stop: StopSignal, how: str
) -> None:
    other_stop = StopSignal(Drain())
    lease = hold(leases, manager.download_lock("job-1"), stop)
    unhurt = hold(leases, manager.download_lock("job-2"), other_stop)
    other = manager.lock("download:job-1", ttl=60)
    manager.client.delete(other.key)
    if how == "taken":
        assert other.acquire()
    wait_until(lambda: stop.error, what="the stop of the holder")
    assert isinstance(stop.error, LeaseLostError)
    assert other_stop.error is None
    leases.release(lease)
    if how == "taken":
        assert holder(manager) == other.token.encode()
    unhurt.check()


def test_a_store_that_lost_everything_stops_every_holder(
    private_store: StoreServer, leases: LeaseManager
) -> None:
    stops = [StopSignal(Drain()) for _ in range(3)]
    with cache_manager(private_store, lock_ttl=TTL, retries=2) as manager:
        for number, stop in enumerate(stops):
            hold(leases, manager.download_lock(f"job-{number}"), stop)
        private_store.restart()
        wait_until(lambda: all(stop.error for stop in stops), what="the stop of all holders")


@pytest.mark.parametrize(("how", "timeout"), [("silent", 5.0), ("silent", 0.05), ("dead", 5.0)])
def test_a_store_that_does_not_answer_stops_the_holder_before_the_lock_can_expire(
    private_store: StoreServer, stop: StopSignal, how: str, timeout: float
) -> None:
    ttl = 2.0
    with (
        cache_manager(private_store, lock_ttl=ttl, cache_timeout=timeout, retries=2) as manager,
        LeaseManager(ttl=ttl) as leases,
    ):
        lease = hold(leases, manager.download_lock("job-1"), stop)
        before = lease_clock()  # the last renewal that succeeds was sent before this
        if how == "silent":
            private_store.pause()
        else:
            private_store.kill()
        wait_until(lambda: stop.error, interval=0.002, what="the stop of the holder")
        assert lease_clock() - before < ttl
        assert isinstance(stop.error, LeaseLostError)
        with pytest.raises(LeaseLostError):
            lease.check()
        private_store.kill()


def test_one_lost_reply_loses_no_lease(store: StoreServer, stop: StopSignal) -> None:
    with (
        Proxy(store.port) as proxy,
        cache_manager(store, lock_ttl=6, cache_addr=proxy.addr) as manager,
        LeaseManager(ttl=6) as leases,
    ):
        lease = hold(leases, manager.download_lock("job-1"), stop)
        proxy.cut_after_request(b"EVALSHA")
        assert leases.renew_all() is False
        assert leases.renew_all() is True
        lease.check()
        assert stop.error is None


def test_the_renewal_survives_an_unexpected_error(
    manager: CacheManager, leases: LeaseManager, stop: StopSignal, caplog: pytest.LogCaptureFixture
) -> None:
    poisoned = hold(leases, manager.download_lock("job-1"), stop)
    manager.client.delete(poisoned.lock.key)
    manager.client.lpush(poisoned.lock.key, "not a lock at all")
    with caplog.at_level(logging.ERROR):
        wait_until(lambda: stop.error, what="the stop of the holder")
    manager.client.delete(poisoned.lock.key)
    leases.release(poisoned)
    next_stop = StopSignal(Drain())
    started = lease_clock()
    lease = hold(leases, manager.download_lock("job-2"), next_stop)
    wait_until(lambda: lease_clock() - started > 1.5 * TTL or next_stop.error, interval=0.01)
    lease.check()
    assert next_stop.error is None


def test_a_release_leaves_the_lock_of_another_holder(
    manager: CacheManager, leases: LeaseManager, stop: StopSignal
) -> None:
    lease = hold(leases, manager.download_lock("job-1"), stop)
    manager.client.set(lease.lock.key, "another token")
    leases.release(lease)
    assert holder(manager) == b"another token"


def test_a_new_lease_outlives_the_end_of_the_former_one(
    manager: CacheManager, leases: LeaseManager, stop: StopSignal
) -> None:
    """Given a lock that the store has lost: the attempt that held it takes a while to end."""
    former = hold(leases, manager.download_lock("job-1"), stop)
    manager.client.delete(former.lock.key)
    newer = hold(leases, manager.download_lock("job-1"), StopSignal(Drain()))
    assert leases.renew_all()
    assert isinstance(stop.error, LeaseLostError)  # its holder is stopped all the same

    leases.release(former)

    manager.client.pexpire(newer.lock.key, 100)
    assert leases.renew_all()
    assert int(manager.client.pttl(newer.lock.key)) > 500
    assert newer.stop.error is None
    leases.release(newer)


def test_releasing_without_a_store_is_no_error(
    private_store: StoreServer, leases: LeaseManager, stop: StopSignal
) -> None:
    with cache_manager(private_store, lock_ttl=TTL) as manager:
        lease = hold(leases, manager.download_lock("job-1"), stop)
        private_store.kill()
        leases.release(lease)


def test_all_leases_are_renewed_in_one_round_trip(store: StoreServer) -> None:
    with (
        Proxy(store.port) as proxy,
        cache_manager(store, lock_ttl=30, cache_addr=proxy.addr) as manager,
        LeaseManager(ttl=30) as leases,
    ):
        for number in range(20):
            hold(leases, manager.download_lock(f"job-{number}"), StopSignal(Drain()))
        leases.renew_all()
        before = proxy.round_trips
        assert leases.renew_all()
        assert proxy.round_trips - before <= 3  # not one for each of them


def test_a_closed_manager_leaves_no_thread(manager: CacheManager, stop: StopSignal) -> None:
    before = threading.active_count()
    leases = LeaseManager(ttl=TTL)
    lease = hold(leases, manager.download_lock("job-1"), stop)
    assert threading.active_count() > before
    leases.close()
    assert threading.active_count() == before
    leases.release(lease)
