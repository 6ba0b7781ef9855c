"""A process suspended for longer than the TTL of its lock changes nothing after it resumes.

Real processes, suspended by SIGSTOP. Where two workers take part, each has its own download folder, as
on two machines: in one folder the kernel's lock on the part file would keep the second one out.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from domain.job import Job, JobStatus
from tests.support.origins.origin import Origin
from tests.support.processes.stopping import AFTER_THE_FENCE, BEFORE_THE_NAME
from tests.support.servers.process import Process, end_process
from tests.support.services.running import downloaded
from tests.support.services.system import PROGRAM, System
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until

S = JobStatus
#: What a worker logs of a job that has a newer claim.
FENCED = "may have a newer claim; this worker stops working on it"


@pytest.fixture
def service(tmp_path: Path, private_store: StoreServer) -> Iterator[System]:
    """A service of its own, whose processes the test starts."""
    with System(tmp_path, private_store) as system:
        yield system


@pytest.fixture
def long_lived(tmp_path: Path, private_store: StoreServer) -> Iterator[System]:
    """A service with progress hashes whose TTL outlasts a test."""
    with System(tmp_path, private_store, settings={"SEEN_PROGRESS_TTL": "60"}) as system:
        yield system


def start_in(service: System, folder: Path, stops_at: str = "") -> Process:
    """Start a download worker with its own download folder; it may suspend itself at a given point."""
    program = ("-m", "tests.support.processes.stopping", stops_at) if stops_at else PROGRAM
    variables = {"SEEN_DOWNLOAD_DIR": str(folder)}
    return service.start_worker(program=program, variables=variables, concurrency=1)


def is_suspended(process: Process) -> bool:
    """Say whether a process is suspended."""
    status = Path(f"/proc/{process.pid}/stat").read_text()
    return status.rpartition(") ")[2].startswith("T")


def suspend(process: Process) -> None:
    process.send_signal(signal.SIGSTOP)
    wait_until(lambda: is_suspended(process), what="suspended")


def resume_and_notice(service: System, process: Process) -> None:
    """Resume a process, and wait until it has logged that its job has a newer claim."""
    assert FENCED not in service.logs()
    process.send_signal(signal.SIGCONT)
    wait_until(lambda: FENCED in service.logs(), deadline=20, what="it has noticed")


@dataclass(frozen=True)
class Traces:
    """All that a claim can change in store and database."""

    progress: object
    indexes: object
    row: Job
    history: object

    @classmethod
    def of(cls, service: System, job: Job) -> Traces:
        cache = service.runtime.cache
        indexes = (cache.keys.active_downloads_key(), cache.keys.dirty_downloads_key())
        return cls(
            progress=cache.client.hgetall(cache.keys.download_job_key(job.id)),
            indexes=[cache.client.zscore(index, job.id) for index in indexes],
            row=service.job(job),
            history=service.runtime.jobs.events(job.id),
        )


def published(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*") if not path.name.startswith(".seen-"))


def part_of(folder: Path, job: Job) -> bytes:
    return (folder / f".seen-{job.id}.part").read_bytes()


# ── suspended while it downloads ────────────────────────────────────────────────────────────────


def test_a_suspended_worker_leaves_no_trace_after_its_job_was_completed(
    long_lived: System, origin: Origin, tmp_path: Path
) -> None:
    service, ours, theirs = long_lived, tmp_path / "ours", tmp_path / "theirs"
    service.start_maintenance()
    suspended = start_in(service, ours)
    file = origin.serve("/a.bin", size=2_000_000, bytes_per_second=600_000)
    job = service.submit(file.url)
    wait_until(lambda: downloaded(service, job) > 300_000)

    suspend(suspended)
    successor = start_in(service, theirs)
    done = service.wait_for(job, S.COMPLETED)
    # Until then its last progress may still be sent to the store, and persisted to SQL.
    wait_until(lambda: not service.runtime.cache.download.dirty(), what="all is saved")
    end_process(successor)

    before, part = Traces.of(service, job), part_of(ours, job)
    resume_and_notice(service, suspended)
    assert part_of(ours, job) == part
    # Afterwards the worker runs further jobs as usual.
    small = service.submit(origin.serve("/b.bin", size=1000).url)
    service.wait_for(small, S.COMPLETED)

    assert (done.fence, done.sha256) == (2, file.sha256)
    assert Traces.of(service, job) == before
    assert published(ours) == ["b.bin"]
    assert published(theirs) == ["a.bin"]


def test_a_suspended_worker_does_not_restore_progress_of_a_requeued_job(
    service: System, private_store: StoreServer, origin: Origin, tmp_path: Path
) -> None:
    """Given no newer claim to compare with: the worker relies on its own clock alone."""
    maintenance, beat = service.start_maintenance()
    suspended = start_in(service, tmp_path / "ours")
    file = origin.serve("/a.bin", size=2_000_000, bytes_per_second=300_000)
    job = service.submit(file.url)
    wait_until(lambda: service.job(job).bytes_downloaded > 100_000)

    suspend(suspended)
    service.wait_for(job, S.QUEUED)
    cache = service.runtime.cache
    wait_until(lambda: cache.download.get_progress(job.id) is None, what="the hash has expired")
    end_process(beat)
    end_process(maintenance)
    with private_store.client(db=1) as broker:
        broker.delete("downloads.normal", "downloads.requeued")  # no worker is to claim the job

    before = Traces.of(service, job)
    assert before.progress == {}
    resume_and_notice(service, suspended)
    assert Traces.of(service, job) == before
    assert published(tmp_path / "ours") == []


# ── suspended before it publishes ───────────────────────────────────────────────────────────────


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("point", [AFTER_THE_FENCE, BEFORE_THE_NAME])
def test_a_worker_suspended_before_the_final_name_publishes_nothing(
    service: System, origin: Origin, tmp_path: Path, point: str, overwrite: bool
) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    service.start_maintenance()
    suspended = start_in(service, ours, stops_at=point)
    file = origin.serve("/a.bin", size=200_000)
    job = service.submit(file.url, overwrite=overwrite)
    wait_until(lambda: is_suspended(suspended), deadline=20, what=f"suspended {point}")
    assert service.job(job).status is S.VERIFYING

    start_in(service, theirs)
    done = service.wait_for(job, S.COMPLETED)
    resume_and_notice(service, suspended)

    assert published(ours) == []
    assert published(theirs) == ["a.bin"]
    after = service.job(job)
    assert (after.fence, after.path, after.updated_at) == (
        2,
        str(theirs / "a.bin"),
        done.updated_at,
    )


# ── data loss ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("how", ["emptied", "rolled back"])
def test_data_loss_never_lets_a_second_worker_run_the_job(
    service: System, private_store: StoreServer, origin: Origin, tmp_path: Path, how: str
) -> None:
    """Given two workers: neither a lost lock nor a repeated message makes both run the job."""
    service.start_maintenance()
    file = origin.serve("/a.bin", size=6_000_000, bytes_per_second=800_000)
    snapshot = tmp_path / "snapshot"
    snapshot.mkdir()
    private_store.save(snapshot)  # without the lock, and without the progress
    job = service.submit(file.url)
    start_in(service, tmp_path / "ours")
    wait_until(lambda: downloaded(service, job) > 300_000)
    start_in(service, tmp_path / "theirs")
    if how == "emptied":
        private_store.flush()
    else:
        private_store.kill()
        private_store.start_from(snapshot)
    # Messages that the snapshot might have had.
    service.runtime.broker.publish([job, job], service.runtime.now())

    done = service.wait_for(job, S.COMPLETED, deadline=60)

    assert done.sha256 == file.sha256
    assert origin.max_concurrent("/a.bin") == 1
    claims = [
        event
        for event in service.runtime.jobs.events(job.id)
        if event.from_status is not event.to_status and event.to_status is S.DOWNLOADING
    ]
    assert [event.fence for event in claims] == list(range(1, done.fence + 1))
    assert done.fence <= 2  # its lock was lost once
    client = service.runtime.cache.client
    wait_until(lambda: not list(client.scan_iter(match="seen:lock:download:*")), what="no lock")
    names = [published(folder) for folder in (tmp_path / "ours", tmp_path / "theirs")]
    assert sorted(names) == [[], ["a.bin"]]


def test_a_lock_of_another_worker_is_left_alone(
    service: System, origin: Origin, tmp_path: Path
) -> None:
    """Given a lock that another holder took meanwhile: its token shows it."""
    service.start_maintenance()
    gate_after = 300_000
    file = origin.serve("/a.bin", size=2_000_000, hang_after=gate_after, faults=1)
    job = service.submit(file.url)
    start_in(service, tmp_path / "ours")
    wait_until(lambda: downloaded(service, job) == gate_after)
    cache = service.runtime.cache
    lock = cache.keys.download_lock_key(job.id)
    cache.client.set(lock, "another token", px=60_000)

    service.wait_for(job, S.QUEUED)

    assert cache.client.get(lock) == b"another token"
    assert cache.client.pttl(lock) > 30_000  # a renewal would set 3 s
    cache.client.delete(lock)
    assert service.wait_for(job, S.COMPLETED).sha256 == file.sha256
    assert origin.max_concurrent("/a.bin") == 1
