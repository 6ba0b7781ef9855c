"""Pause, cancel, resume, retry, drain, and losing a lock, on a transfer that runs in this process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

import tasks
from domain.errors import IllegalTransitionError, UnknownJobError
from domain.job import Job, JobStatus
from tests.support.origins.origin import Origin
from tests.support.services.system import System
from tests.support.wait import wait_until
from worker.runner import Outcome, run_download
from worker.storage.part_file import PartFile
from worker.transfer.integrity.digests import PrefixDigests

S = JobStatus


@contextmanager
def running(system: System, job: Job) -> Iterator[list[Outcome]]:
    """Run a job in a thread; the list has the outcome once the block is left."""
    outcomes: list[Outcome] = []
    thread = threading.Thread(
        target=lambda: outcomes.append(run_download(system.runtime, job.id)), daemon=True
    )
    thread.start()
    wait_until(lambda: system.runtime.cache.download.get_progress(job.id))
    yield outcomes
    thread.join(10)
    assert not thread.is_alive()


@pytest.fixture
def silent(system: System, origin: Origin) -> Job:
    """A job whose origin sends half and then nothing more, without closing."""
    return system.submit(origin.serve("/a.bin", size=400_000, hang_after=200_000).url)


def test_cancel_stops_a_silent_transfer_and_removes_its_part_file(
    system: System, silent: Job
) -> None:
    with running(system, silent) as outcomes:
        tasks.cancel(silent.id, runtime=system.runtime)
        system.wait_for(silent, S.CANCELLED, deadline=3)
    assert outcomes == [Outcome.CANCELLED]
    assert list(system.downloads.iterdir()) == []
    assert system.job(silent).bytes_durable == 0
    assert tasks.cancel(silent.id, runtime=system.runtime).status is S.CANCELLED


def test_pause_keeps_the_bytes_and_resume_goes_on_from_them(system: System, origin: Origin) -> None:
    file = origin.serve("/a.bin", size=400_000, hang_after=200_000, faults=1)
    job = system.submit(file.url)
    with running(system, job) as outcomes:
        wait_until(lambda: _bytes(system, job) == 200_000)
        tasks.pause(job.id, runtime=system.runtime)
        system.wait_for(job, S.PAUSED, deadline=3)
    assert outcomes == [Outcome.PAUSED]
    assert system.job(job).bytes_durable == 200_000

    assert tasks.resume(job.id, runtime=system.runtime).status is S.QUEUED
    assert run_download(system.runtime, job.id) is Outcome.COMPLETED
    assert origin.requests_for("/a.bin")[1].range == (200_000, 399_999)
    assert system.job(job).sha256 == file.sha256


def _bytes(system: System, job: Job) -> int:
    progress = system.runtime.cache.download.get_progress(job.id)
    return 0 if progress is None else progress.bytes_downloaded


def test_a_queued_job_is_cancelled_at_once_and_its_message_does_nothing(
    system: System, origin: Origin
) -> None:
    job = system.submit(origin.serve("/a.bin", size=10).url)
    assert tasks.cancel(job.id, runtime=system.runtime).status is S.CANCELLED
    assert run_download(system.runtime, job.id) is Outcome.NOT_QUEUED
    assert origin.requests == []


def test_a_cancelled_waiting_job_leaves_no_part_file(system: System, origin: Origin) -> None:
    job = system.submit(origin.serve("/a.bin", size=400_000, reset_after=200_000).url)
    assert run_download(system.runtime, job.id) is Outcome.WAITING
    assert list(system.downloads.iterdir()) != []
    tasks.cancel(job.id, runtime=system.runtime)
    # Its message tells a worker, which has the disk, to tidy up.
    assert run_download(system.runtime, job.id) is Outcome.NOT_QUEUED
    assert list(system.downloads.iterdir()) == []


def test_retry_gives_a_failed_job_all_its_attempts_again(system: System, origin: Origin) -> None:
    file = origin.serve("/a.bin", size=10, status=404)
    job = system.submit(file.url)
    assert run_download(system.runtime, job.id) is Outcome.FAILED
    file.behave(status=None)

    again = tasks.retry(job.id, runtime=system.runtime)

    assert (again.status, again.attempts, again.error_code) == (S.QUEUED, 0, None)
    assert run_download(system.runtime, job.id) is Outcome.COMPLETED


def test_what_makes_no_sense_says_what_state_the_job_is_in(system: System, origin: Origin) -> None:
    job = system.submit(origin.serve("/a.bin", size=10).url)
    run_download(system.runtime, job.id)
    for act in (tasks.cancel, tasks.pause, tasks.resume, tasks.retry):
        with pytest.raises(IllegalTransitionError, match="is completed"):
            act(job.id, runtime=system.runtime)
    with pytest.raises(UnknownJobError):
        tasks.cancel("01a20000-0000-7000-8000-000000000000", runtime=system.runtime)


def test_a_drained_job_goes_back_with_its_bytes_and_its_attempt(
    system: System, origin: Origin
) -> None:
    file = origin.serve("/a.bin", size=400_000, hang_after=200_000, faults=1)
    job = system.submit(file.url)
    with running(system, job) as outcomes:
        wait_until(lambda: _bytes(system, job) == 200_000)
        system.runtime.drain.start()
        system.wait_for(job, S.QUEUED, deadline=3)
    assert outcomes == [Outcome.REQUEUED]
    row = system.job(job)
    assert (row.attempts, row.bytes_durable) == (0, 200_000)
    assert row.published_at is not None
    assert system.runtime.cache.held_download_locks([job.id]) == set()


def test_a_worker_that_loses_its_lock_stops_and_hands_the_job_back(
    system: System, silent: Job
) -> None:
    cache = system.runtime.cache
    with running(system, silent) as outcomes:
        cache.service.delete(cache.keys.download_lock_key(silent.id))
        system.wait_for(silent, S.QUEUED, deadline=5)
    assert outcomes == [Outcome.REQUEUED]
    assert system.job(silent).attempts == 0


def test_a_fenced_worker_changes_nothing(system: System, silent: Job) -> None:
    """Given a worker whose job was taken over in SQL, as after a store that lost its locks."""
    jobs, now = system.runtime.jobs, system.runtime.now
    with running(system, silent) as outcomes:
        orphan = system.job(silent)
        jobs.transition(orphan, S.QUEUED, now=now())
        claimed = jobs.claim(silent.id, worker="the new one", now=now())
        assert claimed is not None
        assert claimed.fence == 2
        cache = system.runtime.cache
        cache.service.delete(cache.keys.download_lock_key(silent.id))
    assert outcomes == [Outcome.FENCED]
    row = system.job(silent)
    assert (row.status, row.worker, row.fence) == (S.DOWNLOADING, "the new one", 2)


# ── a person's word that did not reach the worker in time ───────────────────────────────────────


@pytest.mark.parametrize(("word", "end"), [("cancel", S.CANCELLED), ("pause", S.PAUSED)])
def test_a_control_request_only_in_sql_goes_before_requeueing(
    system: System, silent: Job, word: str, end: JobStatus
) -> None:
    with running(system, silent) as outcomes:
        assert system.runtime.jobs.request_control([system.job(silent)], word)
        system.runtime.drain.start()
        system.wait_for(silent, end, deadline=5)
    assert outcomes == [Outcome(end.value)]
    left = [path.name for path in system.downloads.iterdir()]
    assert (left == []) == (end is S.CANCELLED)


def test_a_control_request_only_in_sql_goes_before_waiting(system: System, origin: Origin) -> None:
    file = origin.serve("/a.bin", size=400_000, bytes_per_second=400_000, reset_after=200_000)
    job = system.submit(file.url)
    with running(system, job) as outcomes:
        assert system.runtime.jobs.request_control([system.job(job)], "pause")
    assert outcomes == [Outcome.PAUSED]
    assert system.job(job).control is None


def test_a_file_that_is_whole_survives_a_drain_during_verification(
    system: System, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a drain that begins when every byte has come and none is published."""
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
    wait_until(lambda: system.runtime.jobs.requeue_due(system.runtime.now()))
    # Its part file is still in somebody's hand, so the attempt ends before it begins.
    with PartFile(system.downloads, job.id):
        assert run_download(system.runtime, job.id) is Outcome.WAITING
    row = system.job(job)
    assert (row.bytes_downloaded, row.bytes_durable, row.bytes_total) == (kept, kept, 400_000)
    assert (row.error_code, row.attempts) == ("part_file_busy", 1)
