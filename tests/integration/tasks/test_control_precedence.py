"""A pending control request goes before what the worker writes, also when only SQL has it."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

import tasks
from domain.job import Job, JobStatus
from tasks.periodic.persist import FinalStates
from tasks.periodic.reconcile import reconcile
from tests.support.build import progress_update, unused_url
from tests.support.faults.aging import age_jobs
from tests.support.origins.origin import Origin, ServedFile
from tests.support.services.operations import claim
from tests.support.services.recovery import requeue_orphans
from tests.support.services.running import run_download, running
from tests.support.services.system import System
from tests.support.wait import wait_until
from worker.outcome import Outcome

S = JobStatus
SIZE, HALF = 400_000, 200_000


def request_in_sql(system: System, job: Job, control: str) -> None:
    """Note a control request in SQL alone, as if the store had lost it."""
    assert system.runtime.jobs.request_control([system.job(job)], control)


def last_reason(system: System, job: Job) -> str | None:
    return system.runtime.jobs.events(job.id)[-1].reason


def half_done(origin: Origin, gate: threading.Event) -> ServedFile:
    return origin.serve("/a.bin", size=SIZE, gate=gate, gate_after=HALF, etag='"1"')


def wait_until_half(system: System, job: Job) -> None:
    def is_there() -> bool:
        progress = system.runtime.cache.download.get_progress(job.id)
        return progress is not None and progress.bytes_downloaded == HALF

    wait_until(is_there)


def stopped_half_way(system: System, origin: Origin) -> Job:
    """A job that waits after an attempt that was interrupted in the middle."""
    file = origin.serve("/a.bin", size=SIZE, reset_after=HALF, faults=1, etag='"1"')
    job = system.submit(file.url)
    assert run_download(system.runtime, job.id) is Outcome.WAITING
    assert system.job(job).bytes_durable == HALF
    return system.job(job)


# ── before the file is published ────────────────────────────────────────────────────────────────


def complete_with_a_request(
    system: System, origin: Origin, control: str
) -> tuple[Job, list[Outcome]]:
    """Download a file to its last byte while only SQL has a control request; return the outcomes."""
    gate = threading.Event()
    job = system.submit(half_done(origin, gate).url, connections=1)
    with running(system, job) as outcomes:
        wait_until_half(system, job)
        request_in_sql(system, job, control)
        gate.set()
    return job, outcomes


def test_a_cancel_that_only_sql_has_stops_a_complete_file(
    any_system: System, origin: Origin
) -> None:
    job, outcomes = complete_with_a_request(any_system, origin, "cancel")
    assert outcomes == [Outcome.CANCELLED]
    assert list(any_system.downloads.iterdir()) == []
    row = any_system.job(job)
    assert (row.status, row.reason, row.bytes_durable) == (S.CANCELLED, "cancel requested", 0)


def test_a_pause_that_only_sql_has_keeps_a_complete_file(
    any_system: System, origin: Origin
) -> None:
    job, outcomes = complete_with_a_request(any_system, origin, "pause")
    assert outcomes == [Outcome.PAUSED]
    assert any_system.job(job).bytes_durable == SIZE
    asked = len(origin.requests_for("/a.bin"))
    tasks.resume(job.id, runtime=any_system.runtime)
    assert run_download(any_system.runtime, job.id) is Outcome.COMPLETED
    assert len(origin.requests_for("/a.bin")) == asked


# ── before a requeue ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("control", ["cancel", "pause"])
def test_a_control_request_goes_before_requeueing(
    any_system: System, origin: Origin, control: str
) -> None:
    gate = threading.Event()
    job = any_system.submit(half_done(origin, gate).url, connections=1)
    with running(any_system, job) as outcomes:
        wait_until_half(any_system, job)
        request_in_sql(any_system, job, control)
        any_system.runtime.drain.start()
    row = any_system.job(job)
    assert outcomes == [Outcome(row.status.value)]
    assert (row.reason, row.error_code) == (f"{control} requested", None)
    progress = any_system.runtime.cache.download.get_progress(job.id)
    assert progress is not None
    assert (progress.status, progress.reason) == (row.status, row.reason)
    assert progress.bytes_durable == row.bytes_durable == (0 if control == "cancel" else HALF)
    assert (list(any_system.downloads.iterdir()) == []) is (control == "cancel")
    kept = "discarded" if control == "cancel" else "kept"
    assert last_reason(any_system, job) == f"{control} requested; {HALF:,} bytes are {kept}"


def test_a_pause_goes_before_waiting_for_another_attempt(
    any_system: System, origin: Origin
) -> None:
    gate = threading.Event()
    file = origin.serve("/a.bin", size=SIZE, gate=gate, gate_after=HALF, truncate_after=HALF)
    job = any_system.submit(file.url, connections=1)
    with running(any_system, job) as outcomes:
        wait_until_half(any_system, job)
        request_in_sql(any_system, job, "pause")
        gate.set()
    assert outcomes == [Outcome.PAUSED]
    row = any_system.job(job)
    assert (row.reason, row.error_code, row.next_attempt_at) == ("pause requested", None, None)
    assert row.control is None


@pytest.mark.parametrize(("control", "status"), [("cancel", S.CANCELLED), ("pause", S.FAILED)])
def test_a_failed_attempt_is_cancelled_if_requested_and_not_paused(
    any_system: System, origin: Origin, control: str, status: JobStatus
) -> None:
    gate = threading.Event()
    file = half_done(origin, gate)
    job = any_system.submit(file.url, connections=1, checksum="sha256:" + "0" * 64)
    with running(any_system, job) as outcomes:
        wait_until_half(any_system, job)
        request_in_sql(any_system, job, control)
        gate.set()
    assert outcomes == [Outcome(status.value)]
    row = any_system.job(job)
    assert row.finished_at is not None
    assert (row.error_code is None) is (status is S.CANCELLED)


# ── without a worker ────────────────────────────────────────────────────────────────────────────


def pause(system: System, job: Job) -> None:
    tasks.pause(job.id, runtime=system.runtime)


def keep_waiting(_system: System, _job: Job) -> None:
    pass


@pytest.mark.parametrize("before", [pause, keep_waiting])
def test_a_cancelled_job_has_no_durable_bytes_afterwards(
    any_system: System, origin: Origin, before: Callable[[System, Job], None]
) -> None:
    job = stopped_half_way(any_system, origin)
    before(any_system, job)
    tasks.cancel(job.id, runtime=any_system.runtime)
    assert any_system.job(job).bytes_durable == 0
    assert last_reason(any_system, job) == f"cancel requested; {HALF:,} bytes are discarded"
    # The message makes a worker delete the part file.
    assert run_download(any_system.runtime, job.id) is Outcome.NOT_QUEUED
    assert list(any_system.downloads.iterdir()) == []

    tasks.retry(job.id, runtime=any_system.runtime)
    row = any_system.job(job)
    assert (row.status, row.bytes_downloaded, row.bytes_durable) == (S.QUEUED, 0, 0)


def test_a_waiting_job_that_is_paused_has_no_next_attempt(system: System, origin: Origin) -> None:
    job = stopped_half_way(system, origin)
    assert job.next_attempt_at is not None
    row = tasks.pause(job.id, runtime=system.runtime)
    assert (row.next_attempt_at, row.error_code, row.bytes_durable) == (None, None, HALF)


def orphan(system: System, **fields: object) -> Job:
    """A job whose worker has crashed."""
    job = system.submit(unused_url(), **fields)
    claimed = claim(system.runtime.jobs, job.id, worker="w", now=system.runtime.now())
    assert claimed is not None
    return claimed


@pytest.mark.parametrize(("attempts", "control"), [(1, "cancel"), (2, "cancel"), (2, "pause")])
def test_an_orphan_ends_as_requested(any_system: System, attempts: int, control: str) -> None:
    job = orphan(any_system, max_attempts=attempts)
    request_in_sql(any_system, job, control)
    age_jobs(any_system)
    assert requeue_orphans(any_system.runtime) == (1, 0)
    row = any_system.job(job)
    status = S.CANCELLED if control == "cancel" else S.PAUSED
    assert (row.status, row.reason, row.error_code) == (status, f"{control} requested", None)
    assert last_reason(any_system, job) == f"{control} requested"


def test_a_job_whose_workers_crash_each_time_ends(any_system: System) -> None:
    job = orphan(any_system, max_attempts=2)
    age_jobs(any_system)
    assert requeue_orphans(any_system.runtime) == (1, 0)
    again = claim(any_system.runtime.jobs, job.id, worker="w", now=any_system.runtime.now())
    assert again is not None
    waiting = any_system.backlog()

    age_jobs(any_system)
    assert requeue_orphans(any_system.runtime) == (1, 0)
    row = any_system.job(job)
    assert (row.status, row.attempts, row.error_code) == (S.FAILED, 2, "worker_lost")
    assert "last attempt" in (row.reason or "")
    assert any_system.backlog() == waiting

    assert tasks.retry(job.id, runtime=any_system.runtime).attempts == 0


# ── requested again, and honored late ───────────────────────────────────────────────────────────


def test_a_control_request_in_the_store_is_not_sent_again(
    any_system: System, origin: Origin
) -> None:
    """One that the store has lost is sent again, once, and noted in the job's history."""
    job, cache = orphan(any_system), any_system.runtime.cache
    tasks.cancel(job.id, runtime=any_system.runtime)
    assert reconcile(any_system.runtime).resent == 0

    cache.download.remove(job.id)
    assert reconcile(any_system.runtime).resent == 1
    key = cache.keys.download_job_key(job.id)
    assert cache.client.hget(key, "control") == f"cancel:{job.fence}".encode()
    assert cache.client.pttl(key) > 0
    assert last_reason(any_system, job) == "cancel was requested from its worker again"
    assert reconcile(any_system.runtime).resent == 0


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (S.COMPLETED, "120 bytes, sha256 abab"),
        (S.FAILED, "why; 100 bytes are kept; 20 bytes are discarded"),
    ],
)
def test_a_late_end_brings_its_byte_counts(system: System, status: JobStatus, reason: str) -> None:
    job = orphan(system)
    update = progress_update(
        job_id=job.id,
        fence=job.fence,
        sequence=1,
        status=status,
        increment=120,
        bytes_downloaded=120,
        bytes_durable=100,
        bytes_total=120,
        reason="why",
        sha256="abab",
    )
    system.runtime.cache.download.apply([update])
    progress = system.runtime.cache.download.get_progress(job.id)
    assert progress is not None
    runtime = system.runtime
    assert FinalStates(runtime.jobs, runtime.publisher, runtime.now).save(progress)
    assert last_reason(system, job) == reason
