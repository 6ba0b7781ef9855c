"""A worker without its lease writes nothing: no byte, no checkpoint, no final name.

The lease ends by the clock alone, and for the downloading thread alone, as in a process that was
suspended and resumes: the threads that renew and watch leases have not run yet.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cache import CacheManager
from cache.clock import lease_clock
from domain.job import Job, JobEvent, JobStatus
from tests.support.build import cache_manager
from tests.support.origins.origin import Origin
from tests.support.servers.tcp_proxy import Proxy
from tests.support.services.running import downloaded, run_download, running
from tests.support.services.system import System
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until
from worker.leases.drain import Drain
from worker.leases.lease import Lease, LeaseManager
from worker.leases.stop_signal import StopSignal
from worker.outcome import Outcome
from worker.transfer.integrity.digests import PrefixDigests

MIB = 1 << 20
#: Where the hashing of 2 MiB reads last.
LAST_BLOCK = 2 * MIB - 256 * 1024
#: The download writes a checkpoint at its end, and none before.
NO_CHECKPOINTS_BETWEEN = {"SEEN_CHECKPOINT_INTERVAL": "3600"}


class JumpingClock:
    """The lease's clock; after `jump` it is later for every thread but those of the leases."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def __call__(self) -> float:
        ours = threading.current_thread().name.startswith("lease-")
        return lease_clock() + (0.0 if ours else self._ahead)

    def jump(self, seconds: float = 3600) -> None:
        self._ahead = seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> JumpingClock:
    clock = JumpingClock()
    for module in ("cache.coordination.renewal", "worker.leases.lease"):
        monkeypatch.setattr(f"{module}.lease_clock", clock)
    return clock


@pytest.fixture
def system(tmp_path: Path, store: StoreServer) -> Iterator[System]:
    with System(tmp_path, store, settings=NO_CHECKPOINTS_BETWEEN) as system:
        yield system


def part_of(system: System, job: Job) -> Path:
    return system.downloads / f".seen-{job.id}.part"


def bytes_of(system: System, job: Job) -> bytes:
    """What was written to the part file, without the space allocated for the rest."""
    return part_of(system, job).read_bytes().rstrip(b"\0")


def wait_for_bytes(system: System, job: Job, size: int) -> None:
    wait_until(lambda: downloaded(system, job) == size, what=f"{size} bytes on disk")


# ── writing ─────────────────────────────────────────────────────────────────────────────────────


def test_not_a_byte_is_written_after_the_lease_has_ended(
    system: System, origin: Origin, clock: JumpingClock
) -> None:
    gate = threading.Event()
    file = origin.serve("/a.bin", size=400_000, gate=gate, gate_after=100_000)
    job = system.submit(file.url)
    with running(system, job) as outcomes:
        wait_for_bytes(system, job, 100_000)
        clock.jump()
        gate.set()
    assert outcomes == [Outcome.FENCED]
    assert bytes_of(system, job) == file.body_slice(0, 100_000)
    assert system.job(job).bytes_durable == 0
    assert [path.name for path in system.downloads.iterdir()] == [part_of(system, job).name]


def test_nothing_is_written_once_the_lock_may_have_expired(
    system: System, origin: Origin, clock: JumpingClock
) -> None:
    """Given a process that was suspended for longer than its lock's TTL: another may run the job."""
    gate = threading.Event()
    job = system.submit(origin.serve("/a.bin", size=400_000, gate=gate, gate_after=100_000).url)
    cache = system.runtime.cache.download
    with running(system, job) as outcomes:
        wait_for_bytes(system, job, 100_000)
        clock.jump()
        progress, row, events = cache.get_progress(job.id), system.job(job), events_of(system, job)
        gate.set()
    assert outcomes == [Outcome.FENCED]
    assert cache.get_progress(job.id) == progress
    assert system.job(job) == row
    assert events_of(system, job) == events


def test_a_lease_that_ends_before_its_lock_requeues_the_job(
    system: System, origin: Origin, clock: JumpingClock
) -> None:
    """Given a lease that has ended while its lock lasts a moment more: time to requeue."""
    gate = threading.Event()
    job = system.submit(origin.serve("/a.bin", size=400_000, gate=gate, gate_after=100_000).url)
    with running(system, job) as outcomes:
        wait_for_bytes(system, job, 100_000)
        assert system.runtime.leases.renew_all()
        clock.jump(2.6)  # of three seconds
        gate.set()
    assert outcomes == [Outcome.REQUEUED]
    assert (system.job(job).status, system.job(job).attempts) == (JobStatus.QUEUED, 0)


def events_of(system: System, job: Job) -> list[JobEvent]:
    return system.runtime.jobs.events(job.id)


@pytest.mark.parametrize("lease_ends", [False, True])
def test_the_last_checkpoint_is_not_written_after_the_lease_has_ended(
    system: System, origin: Origin, clock: JumpingClock, lease_ends: bool
) -> None:
    """Given a connection that breaks: after the last byte only the checkpoint checks the lease."""
    gate = threading.Event()
    file = origin.serve(
        "/a.bin", size=400_000, gate=gate, gate_after=100_000, truncate_after=100_000
    )
    job = system.submit(file.url)
    checkpoint = part_of(system, job).with_suffix(".json")
    with running(system, job):
        wait_for_bytes(system, job, 100_000)
        if lease_ends:
            clock.jump()
        gate.set()
    assert bytes_of(system, job) == file.body_slice(0, 100_000)
    if lease_ends:
        assert not checkpoint.exists()
    else:
        assert json.loads(checkpoint.read_text())["written"] == [[0, 100_000]]


# ── publishing ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("at", [0, MIB, LAST_BLOCK])
def test_a_lease_that_ends_while_the_file_is_verified_gives_it_no_name(
    system: System,
    origin: Origin,
    clock: JumpingClock,
    monkeypatch: pytest.MonkeyPatch,
    at: int,
    overwrite: bool,
) -> None:
    """The last of these moments is the read of the last block: only the publication is left."""
    job = system.submit(origin.serve("/a.bin", size=2 * MIB).url, overwrite=overwrite)
    really_read = os.preadv
    read: list[int] = []

    def preadv(fd: int, buffers: list[memoryview], offset: int) -> int:
        read.append(offset)
        size = really_read(fd, buffers, offset)
        if offset == at:
            clock.jump()
        return size

    monkeypatch.setattr(os, "preadv", preadv)
    # No byte is hashed during the transfer: not as it arrives, and the batch is larger than the file.
    monkeypatch.setattr(PrefixDigests, "hash_while", lambda _, write, *_chunks: write())
    monkeypatch.setattr("worker.transfer.integrity.digests._MIN_BATCH", 4 * MIB)

    assert run_download(system.runtime, job.id) is Outcome.FENCED

    assert max(read) == at, "nothing is read after the lease has ended"
    assert [path.name for path in system.downloads.iterdir()] == [part_of(system, job).name]
    assert part_of(system, job).stat().st_nlink == 1


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_lease_that_ends_while_the_disk_is_slow_gives_the_file_no_name(
    system: System,
    origin: Origin,
    clock: JumpingClock,
    monkeypatch: pytest.MonkeyPatch,
    overwrite: bool,
) -> None:
    """Given a last fsync that takes longer than the lock's TTL."""
    job = system.submit(origin.serve("/a.bin", size=100_000).url, overwrite=overwrite)
    really_sync = os.fsync

    def fsync(fd: int) -> None:
        really_sync(fd)
        if system.job(job).status is JobStatus.VERIFYING:
            clock.jump()

    monkeypatch.setattr(os, "fsync", fsync)
    assert run_download(system.runtime, job.id) is Outcome.FENCED
    assert {path.suffix for path in system.downloads.iterdir()} <= {".part", ".json"}
    assert part_of(system, job).stat().st_nlink == 1


# ── the end of a lease ──────────────────────────────────────────────────────────────────────────


class ManualClock:
    """A clock that a test advances."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def manual_clock(monkeypatch: pytest.MonkeyPatch) -> ManualClock:
    clock = ManualClock()
    for module in ("cache.coordination.renewal", "worker.leases.lease"):
        monkeypatch.setattr(f"{module}.lease_clock", clock)
    return clock


@pytest.fixture
def proxy(store: StoreServer) -> Iterator[Proxy]:
    with Proxy(store.port) as proxy:
        yield proxy


@pytest.fixture
def manager(store: StoreServer, proxy: Proxy) -> Iterator[CacheManager]:
    with cache_manager(store, cache_addr=proxy.addr, lock_ttl=30) as manager:
        yield manager


def held(leases: LeaseManager, manager: CacheManager) -> Lease:
    lease = leases.acquire(manager.download_lock("job-1"), StopSignal(Drain()))
    assert lease is not None
    return lease


# The lease of a lock with a TTL of 30 s ends after 25.
@pytest.mark.parametrize(("late", "alive"), [(24, True), (26, False)])
def test_a_lock_counts_from_when_it_was_asked_for(
    proxy: Proxy, manager: CacheManager, manual_clock: ManualClock, late: float, alive: bool
) -> None:
    proxy.before(b"\r\nNX\r\n", lambda: manual_clock.advance(late))
    with LeaseManager(ttl=30) as leases:
        lease = held(leases, manager)
        assert proxy.idle
        assert lease.is_alive() is alive
        leases.release(lease)


@pytest.mark.parametrize(("late", "alive"), [(24, True), (26, False)])
def test_a_renewal_counts_from_when_it_was_sent(
    proxy: Proxy, manager: CacheManager, manual_clock: ManualClock, late: float, alive: bool
) -> None:
    """The store may have renewed the lock at once, and only its answer took so long."""
    with LeaseManager(ttl=30) as leases:
        lease = held(leases, manager)
        assert leases.renew_all()  # the store knows the script from here on
        manual_clock.advance(20)
        proxy.before(b"EVALSHA", lambda: manual_clock.advance(late))
        assert leases.renew_all()
        assert proxy.idle
        assert lease.is_alive() is alive
        leases.release(lease)
