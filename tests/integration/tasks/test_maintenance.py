"""Beat's tasks: persist, requeue, reconcile, clean up; each on a real store and database."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

import tasks
from cache import CacheManager
from domain.errors import DatabaseUnavailableError
from domain.job import Job, JobStatus
from domain.limits import job_scope
from tasks.periodic import maintenance, reconcile
from tasks.periodic import persist as persistence
from tests.support.build import progress_update, unused_url
from tests.support.faults.aging import age_jobs
from tests.support.origins.origin import Origin
from tests.support.servers.postgres import PostgresServer
from tests.support.services.operations import claim, consume_message
from tests.support.services.running import run_download
from tests.support.services.system import System
from tests.support.stores.server import StoreServer
from worker.outcome import Outcome

S = JobStatus


def claimed(system: System) -> Job:
    """A job that some worker has claimed."""
    job = system.submit(unused_url())
    running = claim(system.runtime.jobs, job.id, worker="w", now=system.runtime.now())
    assert running is not None
    return running


def report_progress(system: System, job: Job, sequence: int, size: int, **more: Any) -> None:
    """Report progress as its worker would."""
    fields = {
        "job_id": job.id,
        "fence": job.fence,
        "sequence": sequence,
        "status": S.DOWNLOADING,
        "increment": 100,
        "bytes_downloaded": size,
        "bytes_durable": 0,
        "bytes_total": 1000,
        "speed": 1.5e6 / 8,
        **more,
    }
    system.runtime.cache.download.apply([progress_update(**fields)])


# ── persist_progress ────────────────────────────────────────────────────────────────────────────


def test_progress_reaches_the_database_once_and_only_forward(any_system: System) -> None:
    job = claimed(any_system)
    report_progress(any_system, job, 1, 100)
    assert persistence.persist_progress(any_system.runtime) == 1
    row = any_system.job(job)
    assert (row.bytes_downloaded, row.bytes_total, row.speed_mbps) == (100, 1000, 1.5)
    assert persistence.persist_progress(any_system.runtime) == 0

    report_progress(any_system, job, 2, 200)
    assert persistence.persist_progress(any_system.runtime) == 1
    report_progress(any_system, job, 1, 100)  # a late repetition
    persistence.persist_progress(any_system.runtime)
    assert any_system.job(job).bytes_downloaded == 200


def test_a_hash_that_changes_meanwhile_stays_unsaved(system: System) -> None:
    job = claimed(system)
    report_progress(system, job, 1, 100)
    read = system.runtime.cache.download.dirty()
    report_progress(system, job, 2, 200)
    system.runtime.cache.download.mark_persisted(read)
    assert system.runtime.cache.download.dirty() == [(job.id, (job.fence << 32) + 2)]


def test_many_jobs_are_saved_in_batches(tmp_path: Path, store: StoreServer) -> None:
    # Telling of so many takes a busy machine longer than progress lives in other tests.
    with System(tmp_path, store, settings={"SEEN_PROGRESS_TTL": "60"}) as system:
        count = persistence.BATCH + 7
        requests = [tasks.DownloadRequest(url=unused_url()) for _ in range(count)]
        jobs = tasks.submit_many(requests, runtime=system.runtime)
        for job in jobs:
            running = claim(system.runtime.jobs, job.id, worker="w", now=system.runtime.now())
            assert running is not None
            report_progress(system, running, 1, 100)
        assert persistence.persist_progress(system.runtime) == count
        assert all(job.bytes_downloaded == 100 for job in system.runtime.jobs.find(limit=count))
        assert system.runtime.cache.download.dirty() == []


def test_a_database_that_is_down_loses_no_progress(
    tmp_path: Path, store: StoreServer, postgres: PostgresServer, migrated_postgres_url: str
) -> None:
    with System(tmp_path, store, database_url=migrated_postgres_url) as system:
        job = claimed(system)
        report_progress(system, job, 1, 100)
        postgres.stop()
        with pytest.raises(DatabaseUnavailableError):
            persistence.persist_progress(system.runtime)
        postgres.start()
        assert persistence.persist_progress(system.runtime) == 1
        assert system.job(job).bytes_downloaded == 100


@pytest.mark.parametrize("end", [S.COMPLETED, S.FAILED, S.CANCELLED])
def test_a_final_state_that_only_the_store_has_reaches_the_database(system: System, end: S) -> None:
    """Given a worker that crashed while only the store had its final state."""
    job = claimed(system)
    report_progress(
        system, job, 1, 1000, status=end, path="/x/a.bin", sha256="ab" * 32, error_code="code"
    )
    persistence.persist_progress(system.runtime)
    row = system.job(job)
    assert (row.status, row.path, row.sha256) == (end, "/x/a.bin", "ab" * 32)
    assert row.finished_at is not None
    cache = system.runtime.cache
    assert (cache.service.ttl(cache.keys.download_job_key(job.id)) or 0) <= 3


def test_a_final_state_of_an_older_claim_changes_nothing(system: System) -> None:
    job = claimed(system)
    report_progress(system, job, 1, 1000, status=S.COMPLETED)
    system.runtime.jobs.transition(job, S.QUEUED, now=system.runtime.now())
    claim(system.runtime.jobs, job.id, worker="new", now=system.runtime.now())
    persistence.persist_progress(system.runtime)
    assert system.job(job).status is S.DOWNLOADING


# ── requeue and reconcile ───────────────────────────────────────────────────────────────────────


def test_a_due_job_is_queued_and_published(any_system: System, origin: Origin) -> None:
    job = any_system.submit(origin.serve("/a.bin", size=10, statuses=[503]).url)
    assert run_download(any_system.runtime, job.id) is Outcome.WAITING
    before = any_system.backlog()
    age_jobs(any_system)
    assert maintenance.requeue_due(any_system.runtime) == 1
    assert any_system.job(job).status is S.QUEUED
    assert any_system.backlog() == before + 1


def test_a_job_with_a_lock_or_recent_progress_is_no_orphan(system: System) -> None:
    locked, silent, reported = claimed(system), claimed(system), claimed(system)
    lock = system.runtime.cache.download_lock(locked.id)
    assert lock.acquire()
    age_jobs(system)
    report_progress(system, reported, 1, 100)
    fresh = claimed(system)  # without progress, but claimed just now
    assert reconcile.reconcile(system.runtime).orphaned == 1
    statuses = [system.job(job).status for job in (locked, silent, reported, fresh)]
    assert statuses == [S.DOWNLOADING, S.QUEUED, S.DOWNLOADING, S.DOWNLOADING]


def test_a_lost_message_is_found_behind_a_queue_that_is_never_empty(
    system: System, store: StoreServer
) -> None:
    lost = system.submit(unused_url())
    store.flush()
    age_jobs(system)
    system.submit(unused_url())  # whose message waits
    assert reconcile.reconcile(system.runtime).published == 1
    assert system.backlog() == 2
    published_at = system.job(lost).published_at
    assert published_at is not None
    assert published_at > system.job(lost).updated_at


def test_a_cancelled_orphan_leaves_no_part_file(system: System, origin: Origin) -> None:
    job = system.submit(origin.serve("/a.bin", size=400_000, reset_after=200_000).url)
    assert run_download(system.runtime, job.id) is Outcome.WAITING
    age_jobs(system)
    assert [one.id for one in system.runtime.jobs.requeue_due(system.runtime.now())] == [job.id]
    claimed_again = claim(system.runtime.jobs, job.id, worker="w", now=system.runtime.now())
    assert claimed_again is not None
    assert system.runtime.jobs.request_control([claimed_again], "cancel")
    system.runtime.cache.download.remove(job.id)
    age_jobs(system)
    waiting = system.backlog()
    reconcile.reconcile(system.runtime)
    assert system.job(job).status is S.CANCELLED
    assert system.backlog() == waiting + 1  # for a worker, which has the disk
    assert run_download(system.runtime, job.id) is Outcome.NOT_QUEUED
    assert list(system.downloads.iterdir()) == []


def test_an_unpublished_job_is_published_by_reconcile(system: System, store: StoreServer) -> None:
    job = system.submit(unused_url())
    store.flush()
    consume_message(system.runtime.jobs, job.id)
    age_jobs(system)
    assert reconcile.reconcile(system.runtime).published == 1


def test_persisting_progress_does_not_make_a_job_look_alive(
    system: System, store: StoreServer
) -> None:
    job = claimed(system)
    report_progress(system, job, 1, 100)
    key = system.runtime.cache.keys.download_job_key(job.id)
    hour_ago = round((time.time() - 3600) * 1000)
    store.client().hset(key, "updated_at", hour_ago)
    persistence.persist_progress(system.runtime)
    assert system.job(job).updated_at.timestamp() * 1000 == hour_ago


# ── one at a time, and cleanup ──────────────────────────────────────────────────────────────────


def test_two_reconcilers_at_once_queue_an_orphan_once(system: System) -> None:
    jobs = [claimed(system) for _ in range(20)]
    age_jobs(system)
    reports = []
    threads = [
        threading.Thread(target=lambda: reports.append(reconcile.reconcile(system.runtime)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(report.orphaned for report in reports) == len(jobs)
    for job in jobs:
        queued = [e for e in system.runtime.jobs.events(job.id) if e.to_status is S.QUEUED]
        assert len(queued) == 2  # submitted, and requeued


def test_stale_progress_goes_and_live_progress_stays(system: System, store: StoreServer) -> None:
    live, gone = claimed(system), claimed(system)
    report_progress(system, live, 1, 100)
    report_progress(system, gone, 1, 100)
    store.client().delete(system.runtime.cache.keys.download_job_key(gone.id))
    report = maintenance.cleanup_stale(system.runtime)
    assert (report.stale, report.gone) == (0, 2)  # from the active and the unsaved index
    active = system.runtime.cache.download.get_active_downloads()
    assert [progress.job_id for progress in active] == [live.id]
    reported = system.runtime.jobs.events(gone.id)[-1].reason
    assert reported == "the store listed it without progress; the entry was removed"


def test_limits_go_with_their_jobs(system: System) -> None:
    limits = system.runtime.cache.limits
    waiting, running, ended = (
        system.submit(unused_url()),
        claimed(system),
        system.submit(unused_url()),
    )
    tasks.cancel(ended.id, runtime=system.runtime)
    jobs = [job_scope(job) for job in (waiting.id, running.id, ended.id, "unknown")]
    limits.set_rates(dict.fromkeys([*jobs, "total", "host:example.org"], 5000))
    maintenance.cleanup_stale(system.runtime)
    assert set(limits.rates()) == {*jobs[:2], "total", "host:example.org"}


def test_statistics_are_those_of_the_server(system: System) -> None:
    stats = maintenance.log_stats(system.runtime)
    assert isinstance(system.runtime.cache, CacheManager)
    assert stats.used_memory > 0
    assert stats.connected_clients >= 1
