"""A process suspended for longer than the TTL of its lock leaves no trace when it goes on.

Real processes, stopped by SIGSTOP. Two workers have download folders of their own where the kernel's
lock on the part file would else keep the second one out: this is about what holds between machines.
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
from tests.support.services.system import PROGRAM, System
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until

S = JobStatus
#: What a worker says of a job that is not its own any more.
GIVEN_UP = "may have a newer claim; this worker stops working on it"


@pytest.fixture
def service(tmp_path: Path, private_store: StoreServer) -> Iterator[System]:
    """A service of its own, whose processes the test starts."""
    with System(tmp_path, private_store) as system:
        yield system


@pytest.fixture
def remembering(tmp_path: Path, private_store: StoreServer) -> Iterator[System]:
    """One whose progress hashes live long enough to be compared."""
    with System(tmp_path, private_store, settings={"SEEN_PROGRESS_TTL": "60"}) as system:
        yield system


def start_in(service: System, folder: Path, stops_at: str = "") -> Process:
    """Start a download worker with a folder of its own, which may stop itself somewhere."""
    program = ("-m", "tests.support.processes.stopping", stops_at) if stops_at else PROGRAM
    variables = {"SEEN_DOWNLOAD_DIR": str(folder)}
    return service.start_worker(program=program, variables=variables, concurrency=1)


def seen_bytes(service: System, job: Job) -> int:
    progress = service.runtime.cache.download.get_progress(job.id)
    return 0 if progress is None else progress.bytes_downloaded


def is_stopped(process: Process) -> bool:
    """Say whether the kernel has stopped a process."""
    status = Path(f"/proc/{process.pid}/stat").read_text()
    return status.rpartition(") ")[2].startswith("T")


def stop(process: Process) -> None:
    process.send_signal(signal.SIGSTOP)
    wait_until(lambda: is_stopped(process), what="stopped")


def go_on_and_notice(service: System, process: Process) -> None:
    """Let a process go on, and wait until it has said that the job is not its own any more."""
    assert GIVEN_UP not in service.logs()
    process.send_signal(signal.SIGCONT)
    wait_until(lambda: GIVEN_UP in service.logs(), deadline=20, what="it has noticed")


@dataclass(frozen=True)
class Traces:
    """All that a claim can leave in store and database."""

    progress: object
    indexes: object
    row: Job
    trail: object

    @classmethod
    def of(cls, service: System, job: Job) -> Traces:
        cache = service.runtime.cache
        indexes = (cache.keys.active_downloads_key(), cache.keys.dirty_downloads_key())
        return cls(
            progress=cache.client.hgetall(cache.keys.download_job_key(job.id)),
            indexes=[cache.client.zscore(index, job.id) for index in indexes],
            row=service.job(job),
            trail=service.runtime.jobs.events(job.id),
        )


def published(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*") if not path.name.startswith(".seen-"))


def part_of(folder: Path, job: Job) -> bytes:
    return (folder / f".seen-{job.id}.part").read_bytes()


# ── paused while it downloads ───────────────────────────────────────────────────────────────────


def test_a_suspended_worker_leaves_no_trace_after_its_job_was_completed(
    remembering: System, origin: Origin, tmp_path: Path
) -> None:
    service, ours, theirs = remembering, tmp_path / "ours", tmp_path / "theirs"
    service.start_maintenance()
    zombie = start_in(service, ours)
    file = origin.serve("/a.bin", size=2_000_000, bytes_per_second=600_000)
    job = service.submit(file.url)
    wait_until(lambda: seen_bytes(service, job) > 300_000)

    stop(zombie)
    successor = start_in(service, theirs)
    done = service.wait_for(job, S.COMPLETED)
    # Its last word is on its way to the store, and the store's to SQL.
    wait_until(lambda: not service.runtime.cache.download.dirty(), what="all is saved")
    end_process(successor)

    before, part = Traces.of(service, job), part_of(ours, job)
    go_on_and_notice(service, zombie)
    assert part_of(ours, job) == part
    # One that has noticed works on as ever.
    small = service.submit(origin.serve("/b.bin", size=1000).url)
    service.wait_for(small, S.COMPLETED)

    assert (done.fence, done.sha256) == (2, file.sha256)
    assert Traces.of(service, job) == before
    assert published(ours) == ["b.bin"]
    assert published(theirs) == ["a.bin"]


def test_a_suspended_worker_does_not_restore_progress_of_a_requeued_job(
    service: System, private_store: StoreServer, origin: Origin, tmp_path: Path
) -> None:
    """No newer claim is there to be compared with: it is its own clock that tells it to be silent."""
    maintenance, beat = service.start_maintenance()
    zombie = start_in(service, tmp_path / "ours")
    file = origin.serve("/a.bin", size=2_000_000, bytes_per_second=300_000)
    job = service.submit(file.url)
    wait_until(lambda: service.job(job).bytes_downloaded > 100_000)

    stop(zombie)
    service.wait_for(job, S.QUEUED)
    cache = service.runtime.cache
    wait_until(lambda: cache.download.get_progress(job.id) is None, what="the hash has expired")
    end_process(beat)
    end_process(maintenance)
    with private_store.client(db=1) as broker:
        broker.delete("downloads.normal", "downloads.requeued")  # nobody is to take the job

    before = Traces.of(service, job)
    assert before.progress == {}
    go_on_and_notice(service, zombie)
    assert Traces.of(service, job) == before
    assert published(tmp_path / "ours") == []


# ── paused on the way to the final name ─────────────────────────────────────────────────────────


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("point", [AFTER_THE_FENCE, BEFORE_THE_NAME])
def test_a_worker_suspended_before_the_final_name_publishes_nothing(
    service: System, origin: Origin, tmp_path: Path, point: str, overwrite: bool
) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    service.start_maintenance()
    zombie = start_in(service, ours, stops_at=point)
    file = origin.serve("/a.bin", size=200_000)
    job = service.submit(file.url, overwrite=overwrite)
    wait_until(lambda: is_stopped(zombie), deadline=20, what=f"stopped {point}")
    assert service.job(job).status is S.VERIFYING

    start_in(service, theirs)
    done = service.wait_for(job, S.COMPLETED)
    go_on_and_notice(service, zombie)

    assert published(ours) == []
    assert published(theirs) == ["a.bin"]
    after = service.job(job)
    assert (after.fence, after.path, after.updated_at) == (
        2,
        str(theirs / "a.bin"),
        done.updated_at,
    )


# ── the store forgets ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("how", ["emptied", "rolled back"])
def test_a_store_that_forgets_never_lets_a_second_worker_in(
    service: System, private_store: StoreServer, origin: Origin, tmp_path: Path, how: str
) -> None:
    """Two workers wait for the job; neither the lock nor the message that comes again lets both in."""
    service.start_maintenance()
    file = origin.serve("/a.bin", size=6_000_000, bytes_per_second=800_000)
    snapshot = tmp_path / "snapshot"
    snapshot.mkdir()
    private_store.save(snapshot)  # without the lock, and without the progress
    job = service.submit(file.url)
    start_in(service, tmp_path / "ours")
    wait_until(lambda: seen_bytes(service, job) > 300_000)
    start_in(service, tmp_path / "theirs")
    if how == "emptied":
        private_store.flush()
    else:
        private_store.kill()
        private_store.start_from(snapshot)
    # As the snapshot might have had them.
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
    """Given a lock that changed hands while it was believed to be held: its token tells whose it is."""
    service.start_maintenance()
    gate_after = 300_000
    file = origin.serve("/a.bin", size=2_000_000, hang_after=gate_after, faults=1)
    job = service.submit(file.url)
    start_in(service, tmp_path / "ours")
    wait_until(lambda: seen_bytes(service, job) == gate_after)
    cache = service.runtime.cache
    lock = cache.keys.download_lock_key(job.id)
    cache.client.set(lock, "somebody else's", px=60_000)

    service.wait_for(job, S.QUEUED)

    assert cache.client.get(lock) == b"somebody else's"
    assert cache.client.pttl(lock) > 30_000  # 3 s would be a renewal's
    cache.client.delete(lock)
    assert service.wait_for(job, S.COMPLETED).sha256 == file.sha256
    assert origin.max_concurrent("/a.bin") == 1
