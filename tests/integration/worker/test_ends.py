"""What a job holds in the store is taken and given back in few round trips, together with others'."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from cache import CacheManager
from cache.clock import lease_clock
from cache.store.flow import Batch, Flow, Sleep, gather
from domain.errors import HostBusyError, StoreReplyError
from domain.job import JobStatus
from tests.support.build import cache_manager
from tests.support.counts import set_counts
from tests.support.reporting import claimed, finished, reporting, shown, tracked
from tests.support.servers.tcp_proxy import Proxy
from tests.support.services.slots import BlockingSlots
from tests.support.stores.server import StoreServer
from worker.leases.drain import Drain
from worker.leases.lease import LeaseManager
from worker.leases.stop_signal import StopSignal
from worker.limits.shared_quota import SharedQuota
from worker.limits.slots import HeldSlots
from worker.limits.transfer_rate import TransferRate
from worker.loop.batcher import Batcher
from worker.loop.event_loop import EventLoopThread
from worker.progress.reporter import AttemptResult

HOST = "example.org"
CONNECTIONS = f"connections:{HOST}"
DONE = AttemptResult(status=JobStatus.COMPLETED, path="/x/a.bin", sha256="a" * 64)


@pytest.fixture
def proxy(store: StoreServer) -> Iterator[Proxy]:
    with Proxy(store.port) as proxy:
        yield proxy


@pytest.fixture
def manager(store: StoreServer, proxy: Proxy) -> Iterator[CacheManager]:
    with cache_manager(store, cache_addr=proxy.addr) as manager:
        manager.ping()
        yield manager


@pytest.fixture
def direct(store: StoreServer) -> Iterator[CacheManager]:
    """A manager whose commands do not go through the proxy."""
    with cache_manager(store) as manager:
        yield manager


@pytest.fixture
def leases() -> Iterator[LeaseManager]:
    with LeaseManager(ttl=30) as leases:
        yield leases


@pytest.fixture
def slots(manager: CacheManager) -> Iterator[BlockingSlots]:
    with BlockingSlots(manager.limits, per_host_connections=4) as slots:
        yield slots


def _locking(manager: CacheManager, leases: LeaseManager, job_id: str) -> Flow[Any]:
    return leases.acquire_flow(manager.download_lock(job_id), StopSignal(Drain()))


def test_a_group_starts_in_two_round_trips_and_ends_in_one(
    manager: CacheManager, proxy: Proxy, leases: LeaseManager, slots: BlockingSlots
) -> None:
    jobs = [claimed(user_id="ann") for _ in range(4)]
    keys = [manager.keys.download_lock_key(job.id) for job in jobs]
    with reporting(manager) as reporter:
        manager.store.run_together([slots.acquire_flow("scripts", HOST)])  # the server has it now
        slots.release(slots.acquire("scripts", HOST))
        _finish_one(manager, reporter)
        before = proxy.round_trips
        locks = manager.store.run_together([_locking(manager, leases, job.id) for job in jobs[:3]])
        held = manager.store.run_together(
            [slots.acquire_flow(job.id, HOST, "ann") for job in jobs[:3]]
        )
        assert proxy.round_trips - before == 2
        assert manager.client.exists(*keys) == 3
        trackers = [tracked(reporter, job) for job in jobs[:3]]
        for tracker in trackers:
            set_counts(tracker, downloaded=7, durable=7, total=7)
        ends = [
            gather(
                reporter.finish_flow(tracker, DONE, persisted=True),
                slots.release_flow(of_job),
                leases.release_flow(lease),
            )
            for tracker, of_job, lease in zip(trackers, held, locks, strict=True)
        ]
        before = proxy.round_trips
        results = manager.store.run_together(ends)
        assert proxy.round_trips - before == 1
    assert all(version for version, _, _ in results)
    assert not manager.client.exists(*keys)
    assert {shown(manager, job).status for job in jobs[:3]} == {JobStatus.COMPLETED}
    assert manager.limits.slots(CONNECTIONS) == {"scripts": 1}


def _finish_one(manager: CacheManager, reporter: Any) -> None:
    finished(manager, reporter, tracked(reporter, claimed()), DONE, persisted=True)
    lock = manager.download_lock("scripts")
    lock.acquire()
    lock.release()


def test_the_lock_is_released_after_all_else(
    manager: CacheManager, proxy: Proxy, leases: LeaseManager, slots: BlockingSlots
) -> None:
    """Given a progress hash whose script the server lacks: then the rest waits for its order, too."""
    job = claimed()
    with reporting(manager) as reporter:
        lease = leases.acquire(manager.download_lock(job.id), StopSignal(Drain()))
        assert lease is not None
        held = slots.acquire(job.id, HOST)
        ends = gather(
            reporter.finish_flow(tracked(reporter, job), DONE, persisted=True),
            slots.release_flow(held),
            leases.release_flow(lease),
        )
        manager.client.config_set("slowlog-log-slower-than", 0)
        manager.client.slowlog_reset()
        manager.store.run(ends)
        log: Any = manager.client.slowlog_get(50)
    sent = [entry["command"] for entry in sorted(log, key=lambda entry: entry["id"])]
    places = [
        next(i for i, command in enumerate(sent) if part in command)
        for part in (b"download:job", b"HDEL", b"lock:download")
    ]
    assert places == sorted(places)


def test_a_lease_starts_when_its_lock_is_sent(manager: CacheManager, leases: LeaseManager) -> None:
    """Given flows made early, and another flow of the group that takes its time before it sends."""

    def slow() -> Flow[None]:
        yield Sleep(0.1)
        yield Batch(("PING",))

    waiting = [_locking(manager, leases, f"job-{number}") for number in range(3)]
    time.sleep(0.1)
    started = lease_clock()
    *locks, _ = manager.store.run_together([*waiting, slow()])
    for lease in locks:
        assert lease._renewal._expires_at >= started + 30
        left = manager.client.pttl(lease.lock.key) / 1000
        assert lease._renewal._expires_at <= lease_clock() + left + 0.002


def test_one_job_of_a_group_that_is_refused_leaves_the_others(
    manager: CacheManager, leases: LeaseManager, slots: BlockingSlots
) -> None:
    """Given a lock of another holder, a lock whose key has another type, and more jobs than slots."""
    manager.client.set(manager.keys.download_lock_key("job-1"), "another")
    manager.client.lpush(manager.keys.download_lock_key("job-2"), "foreign")
    flows = [_locking(manager, leases, f"job-{number}") for number in range(4)]
    first, second, third, fourth = manager.store.run_together(flows)
    assert (first.is_alive(), second, fourth.is_alive()) == (True, None, True)
    assert isinstance(third, StoreReplyError)
    results = manager.store.run_together(
        [slots.acquire_flow(f"job-{number}", HOST) for number in range(6)]
    )
    assert [type(one) for one in results] == [HeldSlots] * 4 + [HostBusyError] * 2
    assert sum(manager.limits.slots(CONNECTIONS).values()) == 4


def test_errors_of_an_end_are_logged_and_the_rest_is_given_back(
    manager: CacheManager, leases: LeaseManager, slots: BlockingSlots
) -> None:
    """Given a progress hash and a slot resource whose keys hold another type."""
    job = claimed()
    lease = leases.acquire(manager.download_lock(job.id), StopSignal(Drain()))
    assert lease is not None
    with reporting(manager) as reporter:
        held = slots.acquire(job.id, HOST)
        for key in (
            manager.keys.download_job_key(job.id),
            manager.keys.slots_key(CONNECTIONS),
        ):
            manager.client.delete(key)
            manager.client.lpush(key, "foreign")
        results = manager.store.run(
            gather(
                reporter.finish_flow(tracked(reporter, job), DONE, persisted=True),
                slots.release_flow(held),
                leases.release_flow(lease),
            )
        )
    assert len(results) == 3
    assert not manager.client.exists(manager.keys.download_lock_key(job.id))


# ── a flush and an end at the same time ─────────────────────────────────────────────────────────


def test_an_end_that_overtakes_a_flush_is_what_remains(
    manager: CacheManager, direct: CacheManager, proxy: Proxy
) -> None:
    """Given a flush that has left, for which the end does not wait, and that arrives after it."""
    job = claimed()
    with reporting(manager) as reporter:
        tracker = tracked(reporter, job)
        reporter.flush()
        set_counts(tracker, downloaded=10)

        def finish() -> None:
            set_counts(tracker, downloaded=15)
            direct.store.run(reporter.finish_flow(tracker, DONE, persisted=False))

        proxy.before(job.id.encode(), finish)
        reporter.flush()
    found = shown(direct, job)
    assert (found.status, found.bytes_downloaded) == (JobStatus.COMPLETED, 15)
    # SQL does not have it yet: the flush must not have given it the short TTL.
    assert direct.client.pttl(direct.keys.download_job_key(job.id)) > 60_000
    assert direct.download.totals().active == 0


def test_the_bytes_of_a_finished_download_are_counted_once(manager: CacheManager) -> None:
    with reporting(manager) as reporter:
        tracker = tracked(reporter, claimed())
        set_counts(tracker, downloaded=1000)
        finished(manager, reporter, tracker, DONE, persisted=True)
        for _ in range(2):
            reporter.flush()
        counted: Any = manager.client.hvals(manager.keys.download_rate_key())
    assert sum(map(int, counted)) == 1000


# ── connections of a running transfer ───────────────────────────────────────────────────────────


def test_connections_are_granted_as_far_as_slots_are_free(
    manager: CacheManager, slots: BlockingSlots
) -> None:
    held = slots.acquire("a", HOST)
    store = Batcher("store", manager.store.run_together)
    quota = SharedQuota(held, TransferRate("a", HOST), store)
    loop = EventLoopThread("test")
    asked = [3, 9, 2]
    assert [loop.run(quota.request_connections(one)) for one in asked] == [3, 4, 2]
    assert manager.limits.slots(CONNECTIONS) == {"a": 2}
    loop.close()
    store.close()
