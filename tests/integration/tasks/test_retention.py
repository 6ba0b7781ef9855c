"""Retention: old finished jobs leave the database; unfinished jobs and all files stay."""

from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import insert, select, update

import tasks
from database import Database, JobRepository
from database.job_rows import event_row
from database.models import job_events, jobs
from database.operations.rows import insert_events
from database.retention import BATCH, Deleted, Retention
from domain.errors import DatabaseUnavailableError, UnknownJobError
from domain.job import FINISHED, Job, JobStatus
from tasks.periodic import purge as retention
from tests.support.build import NOW, new_job
from tests.support.build import update as progress_update
from tests.support.origins.origin import Origin
from tests.support.servers.postgres import PostgresServer
from tests.support.services.running import run_download
from tests.support.services.system import System
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until
from worker.outcome import Outcome
from worker.runtime import Runtime

S = JobStatus
DAY = timedelta(days=1)


def purge_finished(runtime: Runtime) -> Iterator[retention.Purged]:
    """Delete jobs that finished before `NOW`, batch by batch."""
    return retention.purge_finished(
        NOW, Retention(runtime.database), runtime.cache.download, runtime.drain
    )


def stored(
    database: Database, status: S, *, ended: datetime | None = None, count: int = 1
) -> list[str]:
    """Jobs in a state, with two events each, and nothing else of what leads to it."""
    made = [new_job(status=status, finished_at=ended) for _ in range(count)]
    rows = [
        {"id": job.id, "url": job.url, "directory": "", "status": status.value, "max_attempts": 3}
        | {"created_at": NOW, "updated_at": NOW, "finished_at": ended}
        for job in made
    ]
    events = [event_row(job, None, NOW, None) for job in made for _ in range(2)]
    with database.write() as connection:
        connection.execute(insert(jobs), rows)
        insert_events(connection, events)
    return [job.id for job in made]


def left(database: Database) -> list[str]:
    with database.read() as connection:
        return list(connection.execute(select(jobs.c.id)).scalars())


def events_left(database: Database) -> set[str]:
    with database.read() as connection:
        return set(connection.execute(select(job_events.c.job_id)).scalars())


def end_long_ago(system: System, job: Job, *, days: int = 40) -> None:
    with system.runtime.database.write() as connection:
        connection.execute(
            update(jobs)
            .where(jobs.c.id == job.id)
            .values(finished_at=system.runtime.now() - days * DAY)
        )


# ── which jobs ──────────────────────────────────────────────────────────────────────────────────


def test_jobs_that_ended_before_then_go_with_their_events(
    database: Database, repo: JobRepository
) -> None:
    old = [id for status in FINISHED for id in stored(database, status, ended=NOW - DAY)]
    young = [id for status in FINISHED for id in stored(database, status, ended=NOW)]
    found = Retention(database)
    assert found.count(NOW) == len(old)
    deleted = found.delete_some(NOW)
    assert sorted(deleted.job_ids) == sorted(old)
    assert deleted.events == 2 * len(old)
    assert sorted(left(database)) == sorted(young)
    assert events_left(database) == set(young)
    assert found.delete_some(NOW) == Deleted([], 0)
    with pytest.raises(UnknownJobError):
        repo.get(old[0])


@pytest.mark.parametrize("status", [status for status in S if status not in FINISHED])
def test_a_living_job_stays_however_old(database: Database, repo: JobRepository, status: S) -> None:
    """Even one with an end in its row, which no code of ours writes, but a hand may have."""
    living = stored(database, status) + stored(database, status, ended=NOW - 400 * DAY)
    assert Retention(database).count(NOW) == 0
    assert Retention(database).delete_some(NOW) == Deleted([], 0)
    assert sorted(left(database)) == sorted(living)
    assert all(len(repo.events(job_id)) == 2 for job_id in living)


def test_the_oldest_go_first_in_batches(database: Database, repo: JobRepository) -> None:
    assert repo.find() == []
    ends = [NOW - days * DAY for days in (3, 9, 1, 7, 5)]
    by_end = {ended: stored(database, S.COMPLETED, ended=ended)[0] for ended in ends}
    found = Retention(database)
    batches = [set(found.delete_some(NOW, limit=2).job_ids) for _ in range(3)]
    oldest_first = [by_end[ended] for ended in sorted(ends)]
    assert batches == [set(oldest_first[:2]), set(oldest_first[2:4]), set(oldest_first[4:])]


# ── others at the same time ─────────────────────────────────────────────────────────────────────


def test_a_job_that_is_retried_meanwhile_stays_with_its_history(any_system: System) -> None:
    """Given a purge and a retry of the same jobs at the same moment, again and again."""
    runtime = any_system.runtime
    count, step = 60, 5
    submitted = [any_system.submit(f"http://127.0.0.1:9/{n}") for n in range(count)]
    for job in submitted:
        tasks.cancel(job.id, runtime=runtime)
        end_long_ago(any_system, job)
    retried: list[str] = []
    begin = threading.Barrier(2)

    def retry_all() -> None:
        begin.wait()
        for job in reversed(submitted):
            try:
                tasks.retry(job.id, runtime=runtime)
            except UnknownJobError:
                continue
            retried.append(job.id)

    thread = threading.Thread(target=retry_all)
    thread.start()
    begin.wait()
    before = runtime.now() - 30 * DAY
    purged: list[str] = []
    while found := Retention(runtime.database).delete_some(before, limit=step).job_ids:
        purged += found
    thread.join()
    purged += Retention(runtime.database).delete_some(before).job_ids
    assert sorted(purged + retried) == sorted(job.id for job in submitted)
    assert sorted(left(runtime.database)) == sorted(retried)
    for job_id in retried:
        assert runtime.jobs.get(job_id).status is S.QUEUED
        assert [e.to_status for e in runtime.jobs.events(job_id)] == [
            S.QUEUED,
            S.CANCELLED,
            S.QUEUED,
        ]
    assert events_left(runtime.database) == set(retried)


def test_a_job_whose_retry_is_not_yet_committed_is_passed_by(migrated_postgres_url: str) -> None:
    """On SQLite there is no such moment: one writes at a time."""
    database = Database(migrated_postgres_url)
    (held,) = stored(database, S.FAILED, ended=NOW - 2 * DAY)
    (free,) = stored(database, S.FAILED, ended=NOW - DAY)
    with database.write() as connection:
        connection.execute(
            update(jobs).where(jobs.c.id == held).values(status="queued", finished_at=None)
        )
        assert Retention(database).delete_some(NOW).job_ids == [free]
    assert Retention(database).delete_some(NOW).job_ids == []
    assert (left(database), events_left(database)) == ([held], {held})
    database.close()


def test_two_purges_at_once_remove_each_job_once(database: Database, repo: JobRepository) -> None:
    assert repo.find() == []
    old = stored(database, S.COMPLETED, ended=NOW - DAY, count=2000)
    removed: list[str] = []
    events: list[int] = []
    failures: list[Exception] = []
    begin = threading.Barrier(3)

    def purge() -> None:
        own = Database(database.engine.url.render_as_string(hide_password=False))
        try:
            begin.wait()
            while (deleted := Retention(own).delete_some(NOW, limit=50)).job_ids:
                removed.extend(deleted.job_ids)
                events.append(deleted.events)
        except Exception as error:
            failures.append(error)
        finally:
            own.close()

    threads = [threading.Thread(target=purge) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sorted(removed) == sorted(old)
    assert sum(events) == 2 * len(old)
    assert (left(database), events_left(database)) == ([], set())


# ── the task ────────────────────────────────────────────────────────────────────────────────────


def test_files_stay_and_progress_goes(any_system: System, origin: Origin) -> None:
    runtime = any_system.runtime
    done = any_system.submit(origin.serve("/a.bin", size=1000).url)
    assert run_download(runtime, done.id) is Outcome.COMPLETED
    breaks = origin.serve("/b.bin", size=400_000, reset_after=200_000)
    failed = any_system.submit(breaks.url, max_attempts=1)
    assert run_download(runtime, failed.id) is Outcome.FAILED
    young = any_system.submit(origin.serve("/c.bin", size=10).url)
    assert run_download(runtime, young.id) is Outcome.COMPLETED
    end_long_ago(any_system, done)
    end_long_ago(any_system, failed)
    runtime.cache.download.apply([progress_update(job_id=done.id, status=S.COMPLETED)])
    files = {path.name: path.read_bytes() for path in any_system.downloads.iterdir()}
    assert {"a.bin", "c.bin"} < files.keys()

    removed = retention.purge(runtime)

    assert removed.jobs == 2
    assert left(runtime.database) == [young.id]
    assert events_left(runtime.database) == {young.id}
    assert {path.name: path.read_bytes() for path in any_system.downloads.iterdir()} == files
    assert runtime.cache.download.get_many([done.id, failed.id]) == {}
    assert {job_id for job_id, _ in runtime.cache.download.dirty()} <= {young.id}


def test_an_idempotency_key_goes_with_its_job(any_system: System) -> None:
    first = any_system.submit("http://127.0.0.1:9/a", idempotency_key="once")
    tasks.cancel(first.id, runtime=any_system.runtime)
    assert any_system.submit("http://127.0.0.1:9/a", idempotency_key="once").id == first.id
    end_long_ago(any_system, first)
    assert retention.purge(any_system.runtime).jobs == 1
    second = any_system.submit("http://127.0.0.1:9/a", idempotency_key="once")
    assert second.id != first.id
    assert left(any_system.runtime.database) == [second.id]


@pytest.mark.parametrize(
    ("setting", "stays"), [("", False), ("0", True), ("41", True), ("39", False)]
)
def test_the_setting_says_what_is_kept(
    tmp_path: Path, store: StoreServer, setting: str, *, stays: bool
) -> None:
    settings = {"SEEN_RETENTION_DAYS": setting} if setting else {}
    with System(tmp_path, store, settings=settings) as system:
        job = system.submit("http://127.0.0.1:9/a")
        tasks.cancel(job.id, runtime=system.runtime)
        end_long_ago(system, job, days=40)
        assert retention.purge(system.runtime).jobs == (0 if stays else 1)
        assert left(system.runtime.database) == ([job.id] if stays else [])


def test_a_purge_runs_in_batches_with_little_memory(
    database: Database, repo: JobRepository
) -> None:
    assert repo.find() == []
    for _ in range(8):
        stored(database, S.COMPLETED, ended=NOW - DAY, count=1000)
    found, batches = Retention(database), []
    tracemalloc.start()
    try:
        while batch := found.delete_some(NOW).job_ids:
            batches.append(len(batch))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert batches == [BATCH] * (8_000 // BATCH)
    assert peak < 4 * 2**20
    assert (left(database), events_left(database)) == ([], set())


def test_it_ends_between_two_batches_when_the_worker_drains(system: System) -> None:
    database = system.runtime.database
    stored(database, S.COMPLETED, ended=NOW - DAY, count=BATCH + 10)
    steps = purge_finished(system.runtime)
    assert next(steps).jobs == BATCH
    system.runtime.drain.start()
    assert list(steps) == []
    assert len(left(database)) == 10


def test_a_store_that_is_away_is_asked_once_and_stops_nothing(
    tmp_path: Path, private_store: StoreServer, caplog: pytest.LogCaptureFixture
) -> None:
    with System(tmp_path, private_store) as system:
        stored(system.runtime.database, S.COMPLETED, ended=NOW - DAY, count=2 * BATCH + 1)
        private_store.kill()
        *_, removed = purge_finished(system.runtime)
        assert removed == (2 * BATCH + 1, 2 * (2 * BATCH + 1))
        assert left(system.runtime.database) == []
        (line,) = [r for r in caplog.records if r.name == "tasks.periodic.purge"]
        assert "store" in line.getMessage()


def test_what_the_database_gave_up_leaves_the_store_though_it_goes_away_then(
    tmp_path: Path, store: StoreServer, postgres: PostgresServer, migrated_postgres_url: str
) -> None:
    with System(tmp_path, store, database_url=migrated_postgres_url) as system:
        old = stored(system.runtime.database, S.COMPLETED, ended=NOW - DAY, count=BATCH + 1)
        system.runtime.cache.download.apply([progress_update(job_id=job_id) for job_id in old])
        steps = purge_finished(system.runtime)
        assert next(steps).jobs == BATCH
        postgres.stop()
        with pytest.raises(DatabaseUnavailableError):
            next(steps)
        assert len(system.runtime.cache.download.get_many(old)) == 1


def test_a_maintenance_worker_runs_it(system: System) -> None:
    stored(system.runtime.database, S.FAILED, ended=system.runtime.now() - 60 * DAY)
    system.start_worker("maintenance")
    system.app.send_task("download.purge", ignore_result=True)
    wait_until(lambda: left(system.runtime.database) == [], what="the old job is removed")
