"""A disk that stops to answer in the middle of a job: people read which one, until it answers again."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import Any

import pytest

from cli.output.job_text import states
from domain.job import Job, JobStatus
from domain.remedies.disks import DISK_SILENT
from tasks import JobView
from tasks.api.job_view import show
from tests.support.faults.aging import make_due
from tests.support.origins.origin import Origin
from tests.support.services.running import run, running
from tests.support.services.system import System
from tests.support.wait import wait_until
from worker.loop import job_disk
from worker.outcome import Outcome
from worker.storage.part_file import PartFile

#: Enough for several checks of a digest; in one segment.
SIZE, SENT_AT_FIRST = 400_000, 250_000


class Gate:
    """Lets the calls of a method of part files wait while it is closed; every other one is as ever."""

    def __init__(self, patch: pytest.MonkeyPatch, method: str) -> None:
        self.opened, self.reached = threading.Event(), threading.Event()
        real = getattr(PartFile, method)

        def wait_and_call(part: PartFile, *arguments: Any, **options: Any) -> Any:
            if not self.opened.is_set():
                self.reached.set()
                assert self.opened.wait(60)
            return real(part, *arguments, **options)

        patch.setattr(PartFile, method, wait_and_call)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk counts as silent soon."""
    monkeypatch.setattr(job_disk, "DISK_PATIENCE", 0.3)
    monkeypatch.setattr(job_disk, "LONG_DISK_PATIENCE", 0.6)
    monkeypatch.setattr(job_disk, "LOOK_EVERY", 0.05)


def view_of(system: System, job: Job) -> JobView:
    return show(job.id, runtime=system.runtime)


def reasons(system: System, job: Job) -> list[str]:
    return [event.reason or "" for event in system.runtime.jobs.events(job.id)]


def check_silence(system: System, job: Job, gate: Gate) -> None:
    """Check what is shown while a call hangs; then let it go on, and check what is shown then."""
    folder = str(system.downloads / "mount")
    wait_until(gate.reached.is_set, what="a call hangs")
    wait_until(lambda: view_of(system, job).has_silent_disk, what="its view says so")
    view = view_of(system, job)
    assert folder in (view.progress.reason or "")
    assert "Check the disk" in (view.progress.reason or "")
    assert states(view, datetime.now(UTC)) == (
        "disk does not answer",
        "disk does not answer",
        "disk hangs",
    )
    wait_until(
        lambda: any(
            "has not answered for" in one and folder in one for one in reasons(system, job)
        ),
        what="its history says so",
    )
    gate.opened.set()


def check_answered(system: System, job: Job) -> None:
    wait_until(
        lambda: any("answers again" in one for one in reasons(system, job)),
        what="its history says that the disk answers",
    )
    progress = system.runtime.cache.download.get_progress(job.id)
    assert progress is None or progress.error_code != DISK_SILENT
    assert system.job(job).error_code != DISK_SILENT


@pytest.mark.parametrize(
    "method", ["find_published", "reserve", "write_at", "truncate", "publish", "close"]
)
def test_each_call_of_a_download(
    system: System, origin: Origin, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    gate = Gate(monkeypatch, method)
    job = system.submit(origin.serve("/a.bin", size=SIZE).url, directory="mount")
    with running(system, job) as outcomes:
        if method == "close":  # the job has ended by then
            wait_until(gate.reached.is_set, what="a call hangs")
            wait_until(
                lambda: any("has not answered for" in one for one in reasons(system, job)),
                what="its history says so",
            )
            gate.opened.set()
        else:
            check_silence(system, job, gate)
    assert outcomes == [Outcome.COMPLETED]
    check_answered(system, job)


def test_bytes_that_are_read_back(
    system: System, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = origin.serve("/a.bin", size=SIZE, reset_after=SENT_AT_FIRST, faults=1)
    job = system.submit(file.url, directory="mount")
    assert run(system, job) is Outcome.WAITING
    gate = Gate(monkeypatch, "read_at")
    make_due(system)
    with running(system, job) as outcomes:
        check_silence(system, job, gate)
    assert outcomes == [Outcome.COMPLETED]
    check_answered(system, job)


def test_the_last_checkpoint(
    system: System, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch, "write_checkpoint")
    file = origin.serve("/a.bin", size=SIZE, reset_after=SENT_AT_FIRST, faults=1)
    job = system.submit(file.url, directory="mount")
    with running(system, job) as outcomes:
        check_silence(system, job, gate)
    assert outcomes == [Outcome.WAITING]
    check_answered(system, job)


def test_a_checkpoint_in_the_background(
    system: System, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, rest = Gate(monkeypatch, "write_checkpoint"), threading.Event()
    file = origin.serve("/a.bin", size=SIZE, gate=rest, gate_after=SENT_AT_FIRST)
    job = system.submit(file.url, directory="mount")
    with running(system, job) as outcomes:
        check_silence(system, job, gate)
        wait_until(lambda: not view_of(system, job).has_silent_disk, what="its view says nothing")
        assert view_of(system, job).progress.reason is None
        rest.set()
    assert outcomes == [Outcome.COMPLETED]
    check_answered(system, job)


def test_a_pause_that_cannot_be_done_yet(
    system: System, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch, "write_at")
    job = system.submit(origin.serve("/a.bin", size=SIZE).url, directory="mount")
    with running(system, job) as outcomes:
        wait_until(lambda: view_of(system, job).has_silent_disk, what="its view says so")
        system.runtime.jobs.request_control([system.job(job)], "pause")
        wait_until(lambda: bool(view_of(system, job).job.control), what="a pause is requested")
        view = view_of(system, job)
        assert states(view, datetime.now(UTC))[0] == "disk does not answer (pause requested)"
        gate.opened.set()
    assert outcomes in ([Outcome.PAUSED], [Outcome.COMPLETED])
    assert system.job(job).error_code is None
    check_answered(system, job)


def test_a_long_call_that_comes_further_is_not_silent(
    system: System, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A digest that is read for longer than the patience, a bit at a time."""
    file = origin.serve("/a.bin", size=4 * 256 * 1024, reset_after=1_000_000, faults=1)
    job = system.submit(file.url, directory="mount")
    assert run(system, job) is Outcome.WAITING
    real, began = PartFile.read_at, threading.Event()

    def read_slowly(part: PartFile, buffer: memoryview, position: int) -> int:
        assert not began.wait(0.2)
        return real(part, buffer, position)

    monkeypatch.setattr(PartFile, "read_at", read_slowly)
    make_due(system)
    assert run(system, job) is Outcome.COMPLETED
    assert not any("answer" in one for one in reasons(system, job))


def test_a_finished_job_whose_files_are_removed(
    system: System,
    origin: Origin,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its history has ended: the log says it."""
    file = origin.serve("/a.bin", size=SIZE, reset_after=SENT_AT_FIRST, faults=1)
    job = system.submit(file.url, directory="mount")
    assert run(system, job) is Outcome.WAITING
    system.runtime.jobs.transition(system.job(job), JobStatus.CANCELLED, now=system.runtime.now())
    gate = Gate(monkeypatch, "remove_working_files")
    with running(system, job) as outcomes:
        wait_until(gate.reached.is_set, what="a call hangs")
        wait_until(lambda: "has not answered for" in caplog.text, what="the log says so")
        gate.opened.set()
    assert outcomes == [Outcome.NOT_QUEUED]
    assert str(system.downloads / "mount") in caplog.text
