"""The disk and the clock of the chaos worker are wrong on request, and right again afterwards."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from domain.job import Job, JobStatus
from tests.chaos.fault_injector import WorkerFaults
from tests.chaos.faults import FULL_DISK_REFUSES, READ_ONLY_DISK_REFUSES
from tests.support.faults.refusing_disk import RefusingDisk
from tests.support.origins.origin import Origin
from tests.support.services.system import System
from tests.support.stores.server import StoreServer

S = JobStatus


@pytest.fixture
def faults_file(tmp_path: Path) -> Path:
    """Where the worker reads what is wrong."""
    return tmp_path / "faults.json"


@pytest.fixture
def disk(tmp_path: Path) -> RefusingDisk:
    """The worker's disk."""
    return RefusingDisk(tmp_path)


@pytest.fixture
def system(
    tmp_path: Path, store: StoreServer, faults_file: Path, disk: RefusingDisk
) -> Iterator[System]:
    """One with a chaos worker and what maintains it."""
    with System(tmp_path, store) as system:
        system.start_maintenance()
        system.start_worker(
            program=("-m", "tests.chaos.worker", str(faults_file)), variables=disk.environment
        )
        yield system


@pytest.mark.parametrize(
    ("number", "calls", "code"),
    [
        (errno.ENOSPC, FULL_DISK_REFUSES, "disk_full"),
        (errno.EROFS, READ_ONLY_DISK_REFUSES, "disk_unavailable"),
    ],
)
def test_disk_that_refuses_holds_a_job_up_and_no_longer(
    system: System,
    origin: Origin,
    disk: RefusingDisk,
    number: int,
    calls: tuple[str, ...],
    code: str,
) -> None:
    disk.refuse(*(f"{call} {number} {system.downloads}" for call in calls))
    job = system.submit(origin.serve("/a.bin", size=300_000).url)
    waiting = system.wait_for(job, S.WAITING)
    assert waiting.error_code == code
    disk.recover()
    assert system.wait_for(job, S.COMPLETED).attempts == 1


@pytest.mark.parametrize("ahead", [-3600, 3600])
def test_a_clock_that_is_wrong_dates_what_its_worker_writes(
    system: System, origin: Origin, faults_file: Path, ahead: float
) -> None:
    def ended_after(job: Job) -> timedelta:
        done = system.wait_for(job, S.COMPLETED)
        assert done.finished_at is not None
        return done.finished_at - job.created_at

    WorkerFaults(clock_ahead=ahead).write(faults_file)
    wrong = ended_after(system.submit(origin.serve("/a.bin", size=1000).url))
    assert abs(wrong - timedelta(seconds=ahead)) < timedelta(minutes=1)
    WorkerFaults().write(faults_file)
    right = ended_after(system.submit(origin.serve("/b.bin", size=1000).url))
    assert abs(right) < timedelta(minutes=1)
