"""A real worker that may have few file descriptors: every job completes, at its first attempt."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from domain.job import Job, JobStatus
from tests.support.origin import Origin
from tests.support.process import Process
from tests.support.store import StoreServer
from tests.support.system import System
from tests.support.wait import wait_until

JOBS, SIZE = 40, 300_000


@pytest.fixture
def system(tmp_path: Path, store: StoreServer) -> Iterator[System]:
    settings = {"SEEN_CONNECTIONS": "4", "SEEN_HOST_CONNECTIONS": "0"}
    with System(tmp_path, store, settings=settings) as system:
        system.start_maintenance()
        yield system


def submit(system: System, origin: Origin, kind: str = "", number: int = JOBS) -> list[Job]:
    files = [origin.serve(f"/{kind}{n}.bin", size=SIZE) for n in range(number)]
    # One attempt each: a single one that is used up by a lack fails the job.
    return [system.submit(file.url, max_attempts=1) for file in files]


def check(system: System, jobs: list[Job]) -> None:
    """All complete at their first attempt; what their histories say of waiting is the lack."""

    def rows() -> list[Job]:
        return [system.job(job) for job in jobs]

    wait_until(lambda: all(row.is_finished for row in rows()), deadline=120, what="all have ended")
    assert {(row.status, row.attempts) for row in rows()} == {(JobStatus.COMPLETED, 1)}
    for job in jobs:
        for event in system.runtime.jobs.events(job.id):
            if event.to_status is JobStatus.WAITING:
                assert "too few resources" in (event.reason or ""), event


def test_worker_started_with_few_descriptors_runs_fewer_jobs(
    system: System, origin: Origin
) -> None:
    jobs = submit(system, origin)
    system.start_worker(concurrency=16, program=("-m", "tests.support.limited", "64"))
    check(system, jobs)
    assert "file descriptors" in system.logs()


def limit_to_what_is_open(process: Process, more: int) -> None:
    # The guard in front of a worker becomes the worker: it has the same process id.
    open_now = len(list(Path(f"/proc/{process.pid}/fd").iterdir()))
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (open_now + more, open_now + more))


@pytest.mark.parametrize("more", [8])
def test_worker_that_runs_out_of_descriptors_runs_fewer_jobs_for_a_while(
    system: System, origin: Origin, more: int
) -> None:
    """Given one that has run before: its limit has been lowered, or other files have been opened."""
    worker = system.start_worker(concurrency=8)
    check(system, submit(system, origin, "before"))
    limit_to_what_is_open(worker, more)
    check(system, submit(system, origin, number=16))
