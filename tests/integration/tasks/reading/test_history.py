"""A job's history as `seen show` prints it."""

from __future__ import annotations

import tasks
from domain.job import Job, JobStatus
from tests.support.origins.origin import Origin
from tests.support.services.running import run_download, running
from tests.support.services.system import System
from tests.support.wait import wait_until
from worker.outcome import Outcome

S = JobStatus
ETAG = '"v1"'


def history_of(system: System, job: Job) -> list[tuple[str, str | None]]:
    """Each change or note, with what it says."""
    return [
        (
            event.to_status.value
            if event.from_status is not event.to_status
            else f"({event.to_status.value})",
            event.reason,
        )
        for event in system.runtime.jobs.events(job.id)
    ]


def bytes_of(system: System, job: Job) -> int:
    progress = system.runtime.cache.download.get_progress(job.id)
    return 0 if progress is None else progress.bytes_downloaded


def test_a_life_with_a_pause_and_an_error(system: System, origin: Origin) -> None:
    file = origin.serve("/a.bin", size=400_000, hang_after=200_000, faults=1, etag=ETAG)
    job = system.submit(file.url, checksum=f"sha256:{file.sha256}")
    with running(system, job):
        wait_until(lambda: bytes_of(system, job) == 200_000)
        tasks.pause(job.id, runtime=system.runtime)
        system.wait_for(job, S.PAUSED)
    file.behave(status=503)
    tasks.resume(job.id, runtime=system.runtime)
    assert run_download(system.runtime, job.id) is Outcome.WAITING
    file.behave(status=None)
    tasks.resume(job.id, runtime=system.runtime)
    assert run_download(system.runtime, job.id) is Outcome.COMPLETED

    shown = history_of(system, job)
    kept = f"resumes with 200,000 bytes already downloaded (ETag {ETAG}"
    assert [what for what, _ in shown] == [
        *("queued", "downloading", "paused"),
        *("queued", "downloading", "(downloading)", "waiting"),
        *("queued", "downloading", "(downloading)", "verifying", "completed"),
    ]
    assert shown[2] == ("paused", "pause requested; 200,000 bytes are kept")
    assert (shown[5][1] or "").startswith(kept)
    assert "503" in (shown[6][1] or "")
    assert (shown[6][1] or "").endswith("200,000 bytes are kept")
    last = shown[-1][1] or ""
    assert last.startswith(f"400,000 bytes, sha256 {file.sha256}; sha256 as requested; ETag {ETAG}")
    # For programs the reasons stay what they were.
    assert system.job(job).reason is None
    events = system.runtime.jobs.events(job.id)
    assert [event.fence for event in events] == [0, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]
    assert {event.worker for event in events} == {None, system.runtime.worker}


def test_a_failure_records_discarded_bytes(system: System, origin: Origin) -> None:
    file = origin.serve("/a.bin", size=300_000)
    job = system.submit(file.url, checksum="sha256:" + "0" * 64)
    assert run_download(system.runtime, job.id) is Outcome.FAILED
    _, reason = history_of(system, job)[-1]
    assert "expected 000" in (reason or "")
    assert (reason or "").endswith("300,000 bytes are discarded")
    assert "discarded" not in (system.job(job).reason or "")
