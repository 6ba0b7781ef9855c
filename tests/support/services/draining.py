"""Downloads that run long enough to be requeued in a drain, and the evidence of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from celery import Celery

from domain.files import WORKING_PREFIX
from domain.job import Job, JobStatus
from tasks.periodic.maintenance import requeue_due
from tasks.periodic.persist import persist_progress
from tasks.periodic.reconcile import reconcile
from tests.support.origins.origin import Origin, ServedFile
from tests.support.servers.process import Process
from tests.support.services.running import downloaded
from tests.support.services.system import ROOT, System
from tests.support.wait import wait_until

#: Timeouts so long that only the drain ends a download that receives nothing.
LONG_TIMEOUTS: Mapping[str, str] = {
    "SEEN_LOW_SPEED_TIME": "60",
    "SEEN_CONNECT_TIMEOUT": "60",
    "SEEN_SHORT_RETRIES": "9",
    "SEEN_HOST_CONNECTIONS": "0",
}
_SLOW_DISK = ROOT / "tests" / "support" / "faults" / "slow_disk"

Download = tuple[Job, ServedFile]


class Disk:
    """A slow disk, for the processes that a system starts from now on; it can be made to hang."""

    def __init__(self, system: System, *, sync_seconds: float = 0.0) -> None:
        self._hangs = system.folder / "disk-hangs"
        system.environment |= {
            "PYTHONPATH": f"{_SLOW_DISK}:{ROOT}",
            "TEST_SYNC_SECONDS": str(sync_seconds),
            "TEST_DISK_HANGS": str(self._hangs),
        }

    def hang(self) -> None:
        """Make every fdatasync hang, and wait until one does.

        A worker without a hanging call may still end in time: its last checkpoint needs no fdatasync
        when no byte was written since the one before.
        """
        self._hangs.touch()
        reached = self._hangs.with_name(f"{self._hangs.name}.reached")
        wait_until(reached.exists, deadline=60, what="a checkpoint hangs")

    def recover(self) -> None:
        """Let the calls return."""
        self._hangs.unlink()


def slow_downloads(
    system: System, origin: Origin, count: int, *, size: int = 3_000_000, **behaviour: Any
) -> list[Download]:
    """Submit downloads of `size` bytes at 100,000 bytes a second each."""
    behaviour = {"bytes_per_second": 100_000, **behaviour}
    files = [origin.serve(f"/slow-{number}.bin", size=size, **behaviour) for number in range(count)]
    return [(system.submit(file.url), file) for file in files]


def all_run(system: System, downloads: Sequence[Download]) -> bool:
    """Whether every download has bytes on disk."""
    return all(downloaded(system, job) > 50_000 for job, _ in downloads)


def durable_on_disk(system: System, job: Job) -> int:
    """How many bytes are durable by the checkpoint beside a job's part file."""
    checkpoint = system.downloads / f"{WORKING_PREFIX}{job.id}.json"
    if not checkpoint.exists():
        return 0
    return sum(end - start for start, end in json.loads(checkpoint.read_text())["written"])


def hurry(downloads: Sequence[Download]) -> None:
    """Serve the next request for each download at full speed."""
    for _, file in downloads:
        file.behave(bytes_per_second=None)


def first_byte(origin: Origin, file: ServedFile, request: int) -> int:
    """The first byte of a request's range; 0 when it requests the whole file."""
    asked = origin.requests_for(file.path)[request].range
    return 0 if asked is None else asked[0]


def command(system: System, name: str) -> None:
    """Give all workers one of Celery's remote commands, without waiting for a reply."""
    broker = system.runtime.settings.celery_broker_url()
    with Celery("client", broker=broker, set_as_current=False) as client:
        client.control.broadcast(name)


def ended(worker: Process, *, deadline: float) -> int:
    """Wait for a worker's end, and return its exit status."""
    wait_until(lambda: worker.poll() is not None, deadline=deadline, what="the worker has ended")
    assert worker.returncode is not None
    return worker.returncode


def completed(system: System, download: Download, *, deadline: float = 30) -> Job:
    """Do beat's work until a download is complete, and return its job."""
    job, file = download

    def is_done() -> bool:
        for work in (persist_progress, reconcile, requeue_due):
            work(system.runtime)
        now = system.job(job)
        assert now.status is JobStatus.COMPLETED or not now.is_finished, now.reason
        return now.status is JobStatus.COMPLETED

    wait_until(is_done, deadline=deadline, interval=0.1, what=f"job {job.id} is completed")
    done = system.job(job)
    assert done.sha256 == file.sha256
    return done
