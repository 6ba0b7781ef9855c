"""A mount that hangs: jobs of other folders are completed, and its own say what they wait for."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from domain.job import JobStatus
from tests.support.origins.origin import Origin
from tests.support.services.system import System
from tests.support.wait import wait_until
from worker.job_pool import JobMessage, JobPool
from worker.loop import job_disk
from worker.loop.folder_threads import MOST_THREADS
from worker.storage.local_destinations import LocalDestinations

S = JobStatus
HANGING = MOST_THREADS + 12


def test_jobs_of_other_mounts_run_while_more_calls_hang_than_there_are_threads(
    system: System, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, entered, open_one = threading.Event(), list[Path](), LocalDestinations.open

    def open_or_hang(self: LocalDestinations, folder: Path, job_id: str) -> Any:
        if "mount" in folder.parts:
            entered.append(folder)
            assert gate.wait(120)
        return open_one(self, folder, job_id)

    monkeypatch.setattr(LocalDestinations, "open", open_or_hang)
    monkeypatch.setattr(job_disk, "DISK_PATIENCE", 0.5)
    bad = [
        system.submit(origin.serve(f"/bad-{n}", size=100).url, directory=f"mount/{n}")
        for n in range(HANGING)
    ]
    ends: list[Any] = []
    pool = JobPool(system.runtime, 2 * HANGING)
    pool.start(JobMessage(tuple(job.id for job in bad)), ends.extend)
    wait_until(lambda: len(entered) >= MOST_THREADS, deadline=120, what="all threads hang")
    good = [
        system.submit(origin.serve(f"/good-{n}", size=100_000).url, directory="here")
        for n in range(3)
    ]
    pool.start(JobMessage(tuple(job.id for job in good)), ends.extend)
    for job in good:
        system.wait_for(job, S.COMPLETED, deadline=120)

    def says_so() -> bool:
        reasons = [event.reason or "" for event in system.runtime.jobs.events(bad[-1].id)]
        return any(
            "has not answered for" in one and f"mount/{HANGING - 1}" in one for one in reasons
        )

    wait_until(says_so, deadline=120, what="a job of the mount says what it waits for")
    assert not ends or {end.job_id for end in ends} == {job.id for job in good}
    gate.set()
    for job in bad:
        system.wait_for(job, S.COMPLETED, deadline=120)
