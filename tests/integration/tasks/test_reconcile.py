"""Reconcile: each difference between SQL and the store, and its correction."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tasks
from database.models import jobs as table
from domain.job import Job, JobStatus, Priority
from tasks.periodic import persist as persistence
from tasks.periodic.reconcile import Reconciled, reconcile
from tests.support.build import new_job, progress_update, unused_url
from tests.support.faults.aging import age_jobs
from tests.support.origins.origin import Origin
from tests.support.services.operations import claim
from tests.support.services.recovery import requeue_orphans
from tests.support.services.running import running
from tests.support.services.system import System
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until
from worker.outcome import Outcome

S = JobStatus
NOTHING = Reconciled(0, 0, 0, 0, 0, 0)


def claimed(system: System) -> Job:
    job = system.submit(unused_url())
    running = claim(system.runtime.jobs, job.id, worker="w", now=system.runtime.now())
    assert running is not None
    return running


def report_progress(
    system: System, job: Job, status: JobStatus = S.DOWNLOADING, **more: Any
) -> None:
    """Report progress as its worker would."""
    fields = {
        "job_id": job.id,
        "fence": job.fence,
        "sequence": 1,
        "status": status,
        "increment": 100,
        "bytes_downloaded": 100,
        "bytes_durable": 0,
        "bytes_total": 1000,
        "speed": 1.5e6 / 8,
        **more,
    }
    system.runtime.cache.download.apply([progress_update(**fields)])


def last_reason(system: System, job: Job) -> str | None:
    return system.runtime.jobs.events(job.id)[-1].reason


def test_without_a_difference_nothing_changes(any_system: System, origin: Origin) -> None:
    file = origin.serve("/a.bin", size=400_000, hang_after=200_000)
    job = any_system.submit(file.url)
    any_system.submit(unused_url())
    with running(any_system, job) as outcomes:
        wait_until(lambda: any_system.runtime.cache.download.get_progress(job.id))
        before = any_system.job(job), any_system.runtime.jobs.events(job.id)
        assert reconcile(any_system.runtime) == NOTHING
        assert (any_system.job(job), any_system.runtime.jobs.events(job.id)) == before
        tasks.cancel(job.id, runtime=any_system.runtime)
    assert outcomes == [Outcome.CANCELLED]


# ── running by SQL, without a worker ────────────────────────────────────────────────────────────


@pytest.fixture
def slow_to_requeue(tmp_path: Path, store: StoreServer) -> Iterator[System]:
    """A system that waits long for a silent job, unless the store has certainly lost no data."""
    changes = {"SEEN_ORPHAN_AFTER": "3600", "SEEN_LOCK_TTL": "0.2"}
    with System(tmp_path, store, settings=changes) as system:
        yield system


def test_an_expired_lock_is_proof_without_data_loss(slow_to_requeue: System) -> None:
    job = claimed(slow_to_requeue)
    age_jobs(slow_to_requeue)
    # At the first run the lock may have been lost with other data.
    assert requeue_orphans(slow_to_requeue.runtime) == (0, 0)
    wait_until(lambda: slow_to_requeue.runtime.cache.data_loss.seconds_without_loss() > 0.2)
    assert requeue_orphans(slow_to_requeue.runtime) == (1, 0)
    assert slow_to_requeue.job(job).status is S.QUEUED


def test_a_missing_lock_is_no_proof_after_data_loss(
    slow_to_requeue: System, store: StoreServer
) -> None:
    """Its worker may write until its lease ends, on a clock of its own."""
    wait_until(lambda: slow_to_requeue.runtime.cache.data_loss.seconds_without_loss() > 0.2)
    job = claimed(slow_to_requeue)
    age_jobs(slow_to_requeue)
    store.flush()
    assert requeue_orphans(slow_to_requeue.runtime) == (0, 0)
    assert slow_to_requeue.job(job).status is S.DOWNLOADING


def test_a_job_with_recent_progress_is_no_orphan(slow_to_requeue: System) -> None:
    wait_until(lambda: slow_to_requeue.runtime.cache.data_loss.seconds_without_loss() > 0.2)
    job = claimed(slow_to_requeue)
    age_jobs(slow_to_requeue)
    report_progress(slow_to_requeue, job)
    assert requeue_orphans(slow_to_requeue.runtime) == (0, 0)


def test_an_orphan_is_requeued_and_published_at_once(any_system: System) -> None:
    job = claimed(any_system)
    age_jobs(any_system)
    waiting = any_system.backlog()
    assert requeue_orphans(any_system.runtime) == (1, 0)
    assert any_system.backlog() == waiting + 1
    row = any_system.job(job)
    assert (row.status, row.worker, row.attempts) == (S.QUEUED, None, 1)
    assert row.published_at is not None
    last = any_system.runtime.jobs.events(job.id)[-1]
    assert (last.from_status, last.reason) == (S.DOWNLOADING, "its worker is gone")


def test_an_orphan_runs_before_jobs_that_never_ran(system: System) -> None:
    job = claimed(system)
    system.submit(unused_url(), priority="high")
    age_jobs(system)
    assert requeue_orphans(system.runtime) == (1, 0)
    assert system.runtime.broker.requeued() == {job.id}
    # Waiting there it is not taken for lost, however long it takes; once it is lost it is found.
    age_jobs(system)
    assert reconcile(system.runtime).published == 0
    system.store.client(db=1).delete("downloads.requeued", "downloads.normal")
    assert reconcile(system.runtime).published == 1
    assert system.runtime.broker.requeued() == {job.id}


@pytest.mark.parametrize("end", [S.COMPLETED, S.FAILED, S.CANCELLED])
def test_a_final_state_in_no_index_is_found(system: System, end: JobStatus) -> None:
    """Given a worker that crashed after its final state was in the store and before the index had it."""
    job = claimed(system)
    report_progress(system, job, end, path="/x/a.bin", sha256="ab" * 32)
    store = system.runtime.cache
    store.client.delete(store.keys.dirty_downloads_key(), store.keys.active_downloads_key())
    assert persistence.persist_progress(system.runtime) == 0
    age_jobs(system)
    assert reconcile(system.runtime) == NOTHING._replace(ended=1)
    row = system.job(job)
    assert (row.status, row.path) == (end, "/x/a.bin")
    assert reconcile(system.runtime) == NOTHING


# ── queued without a message ────────────────────────────────────────────────────────────────────


def test_lost_messages_are_found_queue_by_queue(any_system: System, store: StoreServer) -> None:
    lost = {priority: any_system.submit(unused_url(), priority=priority) for priority in Priority}
    store.client(db=1).delete("downloads.high", "downloads.low")
    age_jobs(any_system)
    assert reconcile(any_system.runtime) == NOTHING._replace(published=2)
    assert any_system.runtime.broker.backlogs() == {"requeued": 0, "high": 1, "normal": 1, "low": 1}
    for priority in (Priority.HIGH, Priority.LOW):
        reason = last_reason(any_system, lost[priority])
        assert reason == "its message was lost; it was published again"
    assert last_reason(any_system, lost[Priority.NORMAL]) is None


def test_a_store_that_lost_everything_gets_every_message_back(
    system: System, store: StoreServer
) -> None:
    requests = [tasks.DownloadRequest(url=unused_url()) for _ in range(1_203)]
    tasks.submit_many(requests, runtime=system.runtime)
    store.flush()
    age_jobs(system)
    assert reconcile(system.runtime).published == len(requests)
    assert system.backlog() == len(requests)


# ── running by the store, and not by SQL ────────────────────────────────────────────────────────


def end_in_sql(system: System, job: Job, status: JobStatus) -> None:
    """End a job in SQL without its worker, some time ago."""
    row = system.job(job)
    changes = {"next_attempt_at": system.runtime.now()}
    values = {S.PAUSED: "pause", S.CANCELLED: "cancel"}
    if status in values:
        assert system.runtime.jobs.request_control([row], values[status])
    moved = system.runtime.jobs.transition(
        system.job(job), status, now=system.runtime.now(), changes=changes
    )
    assert moved is not None
    age_jobs(system)


@pytest.mark.parametrize("status", [S.PAUSED, S.CANCELLED, S.QUEUED, S.FAILED])
def test_a_run_unknown_to_sql_is_stopped(system: System, origin: Origin, status: JobStatus) -> None:
    job = system.submit(origin.serve("/a.bin", size=400_000, hang_after=200_000).url)
    with running(system, job) as outcomes:
        wait_until(lambda: system.runtime.cache.download.get_progress(job.id))
        end_in_sql(system, job, status)
        report = reconcile(system.runtime)
        assert (report.stopped, report.removed) == (1, 0)
    assert outcomes == [Outcome.FENCED]
    assert system.job(job).status is status
    assert last_reason(system, job) == "a worker that still ran it was stopped"


@pytest.mark.parametrize("status", [S.PAUSED, S.COMPLETED, S.FAILED])
def test_progress_of_a_job_that_does_not_run_is_removed(system: System, status: JobStatus) -> None:
    """Given a worker that crashed after SQL had the final state, and before the store had it."""
    job = claimed(system)
    report_progress(system, job)
    if status is S.COMPLETED:
        moved = system.runtime.jobs.transition(job, S.VERIFYING, now=system.runtime.now())
        assert moved is not None
    end_in_sql(system, job, status)
    report = reconcile(system.runtime)
    assert (report.stopped, report.removed) == (0, 1)
    cache = system.runtime.cache.download
    assert cache.get_progress(job.id) is None
    assert cache.get_active_downloads() == []
    assert cache.dirty() == []
    assert "was removed" in (last_reason(system, job) or "")


def test_progress_of_an_unknown_job_is_removed(system: System) -> None:
    report_progress(system, new_job(fence=1))
    assert reconcile(system.runtime).removed == 1
    assert system.runtime.cache.download.get_active_downloads() == []


def test_a_job_that_changed_just_now_is_left_alone(system: System) -> None:
    job = claimed(system)
    report_progress(system, job)
    assert system.runtime.jobs.transition(job, S.FAILED, now=system.runtime.now())
    assert reconcile(system.runtime).removed == 0


# ── many jobs ───────────────────────────────────────────────────────────────────────────────────


def test_reconcile_needs_memory_for_one_batch_only(any_system: System) -> None:
    """Thousands of jobs in every state, and a thousand orphans among them."""
    system = any_system
    repo, now = system.runtime.jobs, system.runtime.now()
    rest = [new_job(status=status, published_at=now) for status in S for _ in range(500)]
    rest = [job for job in rest if job.status not in {S.DOWNLOADING, S.VERIFYING}]
    repo.add(rest)
    orphans = [new_job(status=S.DOWNLOADING, fence=1) for _ in range(1_000)]
    repo.add(orphans)
    with system.runtime.database.write() as connection:
        connection.execute(
            table.update().where(table.c.status == "queued").values(published_at=now)
        )
    requeue_orphans(system.runtime)  # loads what is loaded once

    repo.add([new_job(status=S.DOWNLOADING, fence=1) for _ in range(1_000)])
    tracemalloc.start()
    try:
        orphaned, _ = requeue_orphans(system.runtime)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert orphaned == 1_000
    assert peak < 12 * 2**20
