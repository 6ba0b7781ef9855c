"""What a download worker clears off its disk, and what it leaves alone."""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

import tasks
from database.models import job_events
from database.models import jobs as table
from domain.ids import new_job_id
from domain.job import Job, JobStatus
from tests.support.build import unused_url
from tests.support.faults.aging import age_jobs
from tests.support.origins.origin import Origin
from tests.support.services.running import run_download, running
from tests.support.services.system import System
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until
from worker.app import sweep_disk
from worker.cleanup.sweeper import PROBE_FILE_GRACE, UNKNOWN_GRACE, DiskSweep, SweepResult
from worker.loop import job_disk
from worker.outcome import Outcome
from worker.storage.part_file import PartFile

S = JobStatus
SUFFIXES = (".part", ".json", ".tmp", ".new", ".try", ".publish")


def leave_part(folder: Path, job_id: str, *, age: float = 0) -> list[Path]:
    """Put every working name of a job into a folder, as if untouched for `age` seconds."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f".seen-{job_id}{suffix}" for suffix in SUFFIXES]
    for path in paths:
        path.write_bytes(b"x")
        os.utime(path, (time.time() - age,) * 2)
    return paths


def ended(system: System, status: JobStatus, *, ago: float = 3600, **columns: object) -> Job:
    """A job that ended some time ago."""
    job = system.submit(unused_url(), directory="deep/er")
    past = system.runtime.now().timestamp() - ago
    with system.runtime.database.write() as connection:
        moment = type(job.created_at).fromtimestamp(past, job.created_at.tzinfo)
        values = {"status": status.value, "finished_at": moment, "fence": 1, **columns}
        connection.execute(update(table).where(table.c.id == job.id).values(values))
    return system.job(job)


@pytest.mark.parametrize("status", [S.COMPLETED, S.CANCELLED, S.FAILED])
def test_what_an_ended_job_left_behind_goes(any_system: System, status: JobStatus) -> None:
    job = ended(any_system, status)
    paths = leave_part(any_system.downloads / "deep/er", job.id)
    published = any_system.downloads / "deep/er/film.mkv"
    published.write_bytes(b"film")
    assert sweep_disk(any_system.runtime) == SweepResult(1, 0, 0)
    assert not any(path.exists() for path in paths)
    assert published.read_bytes() == b"film"
    assert "removed the part file" in (any_system.runtime.jobs.events(job.id)[-1].reason or "")
    assert sweep_disk(any_system.runtime) == SweepResult(0, 0, 0)


def test_a_published_file_keeps_its_own_name(system: System) -> None:
    job = ended(system, S.COMPLETED)
    part, *_ = leave_part(system.downloads / "deep/er", job.id)
    film = part.with_name("film.mkv")
    os.link(part, film)
    assert sweep_disk(system.runtime).finished == 1
    assert film.read_bytes() == b"x"
    assert not part.exists()


def test_a_file_that_got_its_name_before_its_job_was_cancelled_goes_with_it(system: System) -> None:
    job = ended(system, S.CANCELLED)
    folder = system.downloads / "deep/er"
    with PartFile(folder, job.id) as part:
        part.publish("film.mkv", overwrite=False)
    assert sweep_disk(system.runtime).finished == 1
    assert list(folder.iterdir()) == []


def test_a_persons_own_link_to_a_part_file_stays_when_its_job_was_cancelled(system: System) -> None:
    job = ended(system, S.CANCELLED)
    part, *_ = leave_part(system.downloads / "deep/er", job.id)
    backup = part.with_name("backup")
    os.link(part, backup)
    assert sweep_disk(system.runtime).finished == 1
    assert list(part.parent.iterdir()) == [backup]


def test_what_is_still_of_use_stays(system: System) -> None:
    unfinished = system.submit(unused_url(), directory="deep/er")
    paused = tasks.pause(system.submit(unused_url()).id, runtime=system.runtime)
    just_ended = ended(system, S.CANCELLED, ago=1)
    can_go_on = ended(system, S.FAILED, bytes_durable=5)
    unknown = new_job_id()
    kept = [
        path
        for job_id in (unfinished.id, paused.id, just_ended.id, can_go_on.id, unknown)
        for path in leave_part(system.downloads / "deep/er", job_id)
    ]
    other = system.downloads / ".seen-notes.part"
    other.write_bytes(b"mine")
    assert sweep_disk(system.runtime) == SweepResult(0, 0, 0)
    assert all(path.exists() for path in [*kept, other])


def test_files_of_an_unknown_job_stay_for_a_day(system: System) -> None:
    old = leave_part(system.downloads, new_job_id(), age=UNKNOWN_GRACE + 60)
    *rest, touched = leave_part(system.downloads / "x", new_job_id(), age=UNKNOWN_GRACE + 60)
    os.utime(touched)
    assert sweep_disk(system.runtime) == SweepResult(0, 1, 0)
    assert not any(path.exists() for path in old)
    assert all(path.exists() for path in rest)


def test_trial_file_that_a_crash_left_is_removed_after_a_minute(system: System) -> None:
    old = leave_part(system.downloads, str(uuid.uuid4()), age=PROBE_FILE_GRACE + 60)
    new = leave_part(system.downloads, str(uuid.uuid4()))
    odd = leave_part(system.downloads, "-" * 36, age=PROBE_FILE_GRACE + 60)
    assert sweep_disk(system.runtime) == SweepResult(0, 1, 0)
    assert not any(path.exists() for path in old)
    assert all(path.exists() for path in [*new, *odd])


def test_a_file_in_use_is_left_alone(system: System) -> None:
    job = ended(system, S.CANCELLED)
    folder = system.downloads / "deep/er"
    leave_part(folder, job.id)
    with PartFile(folder, job.id) as part:
        assert sweep_disk(system.runtime) == SweepResult(0, 0, 0)
        assert part.path.exists()
    assert sweep_disk(system.runtime) == SweepResult(1, 0, 0)


@pytest.fixture
def own_machine(tmp_path: Path, store: StoreServer) -> Iterator[System]:
    """One on which jobs may name any folder."""
    settings = {"SEEN_ALLOW_ANY_DIRECTORY": "true"}
    with System(tmp_path / "system", store, settings=settings) as system:
        yield system


def test_a_folder_elsewhere_is_looked_into_and_not_walked_through(
    own_machine: System, tmp_path: Path
) -> None:
    system = own_machine
    elsewhere = tmp_path / "elsewhere"
    job = system.submit(unused_url(), directory=str(elsewhere))
    tasks.cancel(job.id, runtime=system.runtime)
    with system.runtime.database.write() as connection:
        hour_ago = system.runtime.now().replace(year=2025)
        connection.execute(update(table).values(finished_at=hour_ago))
    paths = leave_part(elsewhere, job.id)
    strangers = leave_part(elsewhere, new_job_id(), age=2 * UNKNOWN_GRACE)
    assert sweep_disk(system.runtime) == SweepResult(1, 0, 0)
    assert not any(path.exists() for path in paths)
    assert all(path.exists() for path in strangers)


def test_later_sweeps_look_up_only_jobs_that_ended_since(
    own_machine: System, tmp_path: Path
) -> None:
    """All finished jobs are looked up by the first sweep of a process, and once a day."""
    runtime, elsewhere = own_machine.runtime, tmp_path / "elsewhere"
    ends = [ended(own_machine, S.COMPLETED, ago=ago) for ago in (2 * 86_400, 3_600)]
    with runtime.database.write() as connection:
        connection.execute(update(table).values(directory=str(elsewhere)))
    now = [runtime.now()]
    sweep = DiskSweep(
        runtime.jobs,
        runtime.destinations,
        root=runtime.files_dir,
        allow_any_directory=True,
        drain=runtime.drain,
        clock=lambda: now[0],
    )
    for later, removed in ((timedelta(0), 2), (timedelta(hours=2), 1), (timedelta(days=1), 2)):
        now[0] += later
        for job in ends:
            leave_part(elsewhere, job.id)
        assert sweep.run() == SweepResult(removed, 0, 0)


def test_two_sweeps_at_once_are_one(system: System) -> None:
    lock = system.runtime.cache.lock(f"task:sweep:{socket.gethostname()}")
    job = ended(system, S.CANCELLED)
    leave_part(system.downloads / "deep/er", job.id)
    assert lock.acquire()
    assert sweep_disk(system.runtime) == SweepResult(0, 0, 0)
    lock.release()
    assert sweep_disk(system.runtime) == SweepResult(1, 0, 0)


# ── jobs without their part file ────────────────────────────────────────────────────────────────


def stopped_in_the_middle(system: System, origin: Origin) -> Job:
    """A paused job with 200,000 bytes in its part file."""
    job = system.submit(origin.serve("/a.bin", size=400_000, hang_after=200_000, faults=1).url)

    def size() -> int:
        progress = system.runtime.cache.download.get_progress(job.id)
        return 0 if progress is None else progress.bytes_downloaded

    with running(system, job):
        wait_until(lambda: size() == 200_000)
        tasks.pause(job.id, runtime=system.runtime)
        system.wait_for(job, S.PAUSED)
    return system.job(job)


def test_a_job_whose_part_file_is_gone_counts_on_nothing(system: System, origin: Origin) -> None:
    job = stopped_in_the_middle(system, origin)
    assert job.bytes_durable == 200_000
    assert sweep_disk(system.runtime) == SweepResult(0, 0, 0)
    for path in system.downloads.iterdir():
        path.unlink()
    assert sweep_disk(system.runtime) == SweepResult(0, 0, 1)
    row = system.job(job)
    assert (row.status, row.bytes_durable, row.bytes_downloaded) == (S.PAUSED, 0, 0)
    reason = system.runtime.jobs.events(job.id)[-1].reason
    assert reason == "its part file is missing: 200,000 bytes will be fetched again"
    tasks.resume(job.id, runtime=system.runtime)
    assert run_download(system.runtime, job.id) is Outcome.COMPLETED


def test_what_another_machine_has_is_not_missed_here(system: System, origin: Origin) -> None:
    job = stopped_in_the_middle(system, origin)
    with system.runtime.database.write() as connection:
        connection.execute(update(job_events).values(worker="elsewhere:7"))
    for path in system.downloads.iterdir():
        path.unlink()
    age_jobs(system)
    assert sweep_disk(system.runtime) == SweepResult(0, 0, 0)
    assert system.job(job).bytes_durable == 200_000


def test_a_sweep_whose_disk_hangs_says_so(
    system: System, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(job_disk, "LONG_DISK_PATIENCE", 0.3)
    monkeypatch.setattr(job_disk, "LOOK_EVERY", 0.05)
    job, gate = ended(system, S.CANCELLED), threading.Event()
    leave_part(system.downloads / "deep/er", job.id)
    remove = PartFile.remove_working_files

    def wait_and_remove(part: PartFile) -> None:
        assert gate.wait(60)
        remove(part)

    monkeypatch.setattr(PartFile, "remove_working_files", wait_and_remove)
    with ThreadPoolExecutor(1) as threads:
        sweeping = threads.submit(sweep_disk, system.runtime)
        try:
            wait_until(lambda: "The sweep waits" in caplog.text, what="the log says so")
        finally:
            gate.set()
        assert sweeping.result() == SweepResult(1, 0, 0)
    assert str(system.runtime.files_dir) in caplog.text
