"""Retry, drain and a lost lock: what becomes of the job and of its bytes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import tasks
from domain.job import Job, JobStatus
from tests.support.faults.aging import make_due
from tests.support.origins.origin import Origin
from tests.support.services.operations import claim
from tests.support.services.running import downloaded, run_download, running
from tests.support.services.system import System
from tests.support.wait import wait_until
from worker.outcome import Outcome
from worker.storage.part_file import PartFile
from worker.transfer.integrity.digests import PrefixDigests

S = JobStatus


@pytest.fixture
def silent(system: System, origin: Origin) -> Job:
    """A job whose origin sends half and then nothing more, without closing."""
    return system.submit(origin.serve("/a.bin", size=400_000, hang_after=200_000).url)


def wait_for_progress(system: System, job: Job) -> None:
    wait_until(lambda: system.runtime.cache.download.get_progress(job.id))


def test_a_queued_job_is_cancelled_at_once_and_its_message_does_nothing(
    system: System, origin: Origin
) -> None:
    job = system.submit(origin.serve("/a.bin", size=10).url)
    assert tasks.cancel(job.id, runtime=system.runtime).status is S.CANCELLED
    assert run_download(system.runtime, job.id) is Outcome.NOT_QUEUED
    assert origin.requests == []


def test_retry_gives_a_failed_job_all_its_attempts_again(system: System, origin: Origin) -> None:
    file = origin.serve("/a.bin", size=10, status=404)
    job = system.submit(file.url)
    assert run_download(system.runtime, job.id) is Outcome.FAILED
    file.behave(status=None)

    again = tasks.retry(job.id, runtime=system.runtime)

    assert (again.status, again.attempts, again.error_code) == (S.QUEUED, 0, None)
    assert run_download(system.runtime, job.id) is Outcome.COMPLETED


def test_a_drained_job_is_requeued_with_its_bytes_and_its_attempt(
    system: System, origin: Origin
) -> None:
    file = origin.serve("/a.bin", size=400_000, hang_after=200_000, faults=1)
    job = system.submit(file.url)
    with running(system, job) as outcomes:
        wait_until(lambda: downloaded(system, job) == 200_000)
        system.runtime.drain.start()
        system.wait_for(job, S.QUEUED, deadline=30)
    assert outcomes == [Outcome.REQUEUED]
    row = system.job(job)
    assert (row.attempts, row.bytes_durable) == (0, 200_000)
    assert row.published_at is not None
    assert system.runtime.cache.held_download_locks([job.id]) == set()


def test_a_worker_that_loses_its_lock_stops_and_requeues_the_job(
    system: System, silent: Job
) -> None:
    cache = system.runtime.cache
    with running(system, silent) as outcomes:
        wait_for_progress(system, silent)
        cache.service.delete(cache.keys.download_lock_key(silent.id))
        system.wait_for(silent, S.QUEUED, deadline=30)
    assert outcomes == [Outcome.REQUEUED]
    assert system.job(silent).attempts == 0


def test_a_fenced_worker_changes_nothing(system: System, silent: Job) -> None:
    """Given a job that another worker has claimed, as after a store that lost its locks."""
    jobs, now = system.runtime.jobs, system.runtime.now
    with running(system, silent) as outcomes:
        wait_for_progress(system, silent)
        orphan = system.job(silent)
        jobs.transition(orphan, S.QUEUED, now=now())
        claimed = claim(jobs, silent.id, worker="the newer one", now=now())
        assert claimed is not None
        assert claimed.fence == 2
        cache = system.runtime.cache
        cache.service.delete(cache.keys.download_lock_key(silent.id))
    assert outcomes == [Outcome.FENCED]
    row = system.job(silent)
    assert (row.status, row.worker, row.fence) == (S.DOWNLOADING, "the newer one", 2)


def test_a_complete_file_survives_a_drain_during_verification(
    system: System, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a drain that begins when every byte is written and the file is not published."""
    finish = PrefixDigests.finish

    def drained(digests: PrefixDigests, size: int, check: Callable[[], None]) -> dict[str, str]:
        system.runtime.drain.start()
        return finish(digests, size, check)

    monkeypatch.setattr(PrefixDigests, "finish", drained)
    file = origin.serve("/a.bin", size=300_000)
    job = system.submit(file.url)
    assert run_download(system.runtime, job.id) is Outcome.REQUEUED
    row = system.job(job)
    assert (row.bytes_durable, row.bytes_total, row.attempts) == (300_000, 300_000, 0)
    monkeypatch.undo()
    system.runtime.drain._flag[0] = 0

    assert run_download(system.runtime, job.id) is Outcome.COMPLETED
    assert len(origin.requests_for("/a.bin")) == 1
    assert system.job(job).sha256 == file.sha256


def test_a_new_attempt_never_shows_less_than_is_durable(system: System, origin: Origin) -> None:
    file = origin.serve("/a.bin", size=400_000, reset_after=200_000, faults=1)
    job = system.submit(file.url)
    assert run_download(system.runtime, job.id) is Outcome.WAITING
    kept = system.job(job).bytes_durable
    assert kept > 0
    make_due(system)
    # Another process has the part file open, so the attempt ends before it transfers a byte.
    with PartFile(system.downloads, job.id):
        assert run_download(system.runtime, job.id) is Outcome.WAITING
    row = system.job(job)
    assert (row.bytes_downloaded, row.bytes_durable, row.bytes_total) == (kept, kept, 400_000)
    assert (row.error_code, row.attempts) == ("part_file_busy", 1)
