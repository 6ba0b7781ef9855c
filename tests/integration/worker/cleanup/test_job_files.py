"""What a job left on the disk is removed by what SQL says then, never by what it said before."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import update

import tasks
from database.jobs import JobRepository
from database.models import jobs as table
from domain.job import Job, JobStatus
from tests.support.origins.origin import Origin
from tests.support.services.running import run_download
from tests.support.services.system import System
from tests.support.stores.server import StoreServer
from worker.cleanup.job_files import remove_job_files
from worker.outcome import Outcome
from worker.storage.part_file import PartFile

S = JobStatus


class StandsStill(JobRepository):
    """A database whose answer about a job is followed by a long pause, while other processes run."""

    def then(self, meanwhile: Callable[[], None]) -> StandsStill:
        self._meanwhile = meanwhile
        return self

    def get(self, job_id: str) -> Job:
        """Return one job as it was before the pause."""
        job = super().get(job_id)
        self._meanwhile()
        return job


def remove_files(system: System, job: Job) -> bool:
    runtime = system.runtime
    return remove_job_files(runtime.jobs, runtime.destinations, system.downloads, job.id)


@pytest.mark.parametrize("end", ["completed", "paused"])
def test_who_stood_still_before_tidying_up_takes_nothing_from_a_newer_claim(
    system: System, store: StoreServer, origin: Origin, end: str
) -> None:
    file = origin.serve("/a.bin", size=400_000, reset_after=100_000, faults=1)
    job = system.submit(file.url)
    tasks.cancel(job.id, runtime=system.runtime)
    part = system.downloads / f".seen-{job.id}.part"

    def meanwhile() -> None:
        with store.client() as client:  # our lock has expired
            client.delete(f"seen:lock:download:{job.id}")
        tasks.retry(job.id, runtime=system.runtime)
        assert run_download(system.runtime, job.id) is Outcome.WAITING
        if end == "completed":
            tasks.resume(job.id, runtime=system.runtime)
            assert run_download(system.runtime, job.id) is Outcome.COMPLETED
            # As if its worker had crashed before it removed this name.
            os.link(system.downloads / "a.bin", part)

    jobs = StandsStill(system.runtime.database).then(meanwhile)
    slow = replace(system.runtime, jobs=jobs)
    assert run_download(slow, job.id) is Outcome.NOT_QUEUED

    if end == "completed":
        content = (system.downloads / "a.bin").read_bytes()
        assert hashlib.sha256(content).hexdigest() == file.sha256
        assert not part.exists()
    else:
        assert system.job(job).bytes_durable == 100_000
        assert part.stat().st_size >= 100_000


@pytest.mark.parametrize(
    ("status", "durable", "goes"),
    [
        (S.COMPLETED, 5, True),
        (S.CANCELLED, 5, True),
        (S.FAILED, 0, True),
        (S.FAILED, 5, False),
        (S.PAUSED, 5, False),
        (S.QUEUED, 5, False),
        (S.DOWNLOADING, 5, False),
    ],
)
def test_what_is_removed(
    system: System, origin: Origin, status: JobStatus, durable: int, *, goes: bool
) -> None:
    job = system.submit(origin.serve("/a.bin", size=10).url)
    with system.runtime.database.write() as connection:
        changed = {"status": status.value, "bytes_durable": durable}
        connection.execute(update(table).where(table.c.id == job.id).values(changed))
    with PartFile(system.downloads, job.id) as part:
        part.write_at([b"x"], 0)
        assert not remove_files(system, job)  # it is open
    assert remove_files(system, job) is goes
    assert bool(list(Path(system.downloads).iterdir())) is not goes
