"""No statement of the running system reads more finished jobs than it returns.

All that the service does with SQL is done once on a database with many finished jobs, of which a tenth
as many are queued. Each statement is then explained, and executed again to count the rows that it reads.
A new statement is covered when something below executes it; a new method of the repositories fails a
test until something does.
"""

from __future__ import annotations

import inspect
import itertools
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest

import tasks
from bench.scale.jobs import Numbers, fill, settle
from database import Database, JobRepository, clock_skew
from database.aria2 import QueuePlaces
from database.changes import Change
from database.job_pages import End, PageQuery
from database.operations import Claim, RequeueForSlot, Transition
from database.retention import Retention
from domain.errors import InvalidInputError
from domain.job import JobFilter, JobStatus, Order, Priority
from tasks.api.job_view import JobReader
from tasks.periodic import missing_messages, orphans
from tasks.periodic.maintenance import cleanup_stale, requeue_due
from tasks.periodic.persist import persist_progress
from tasks.periodic.purge import purge
from tasks.periodic.reconcile import reconcile
from tests.support.build import NOW, update
from tests.support.origins.origin import Origin
from tests.support.plans import (
    GROWING,
    Recording,
    Statement,
    as_if_large,
    full_scans,
    recorded,
    rows_read,
    without_table_scans,
)
from tests.support.services.operations import claim, consume_message, note
from tests.support.services.running import run_download
from tests.support.services.system import System
from worker.cleanup import sweeper
from worker.cleanup.sweeper import DiskSweep
from worker.outcome import Outcome
from worker.runtime import Runtime

S = JobStatus
ENDED = Numbers(ended=8_000, queued=0, waiting=0, paused=0, running=0)
UNFINISHED = Numbers(ended=0, queued=900, waiting=60, paused=60, running=60)
#: Rows that one statement may read: all unfinished jobs, and two pages of 500. For SQLite they are
#: estimated, at up to twice their number.
MAX_ROWS = 2 * (UNFINISHED.all + 500)

#: Statements that may read more, by a pattern: why.
ALLOWED = {
    r"SELECT count\(\*\) AS count_1 FROM jobs WHERE jobs.status IN .* AND jobs.finished_at <": (
        "`seen db purge` counts what it will delete before it asks"
    ),
}


@dataclass(frozen=True, slots=True)
class Filled:
    """A database with many jobs, and what the service has executed on it."""

    database: Database
    recording: Recording


@pytest.fixture
def filled(any_system: System, origin: Origin, monkeypatch: pytest.MonkeyPatch) -> Filled:
    """On PostgreSQL the statistics are of a time before the unfinished jobs came.

    Periodic tasks read few jobs at a time, as they do beside a million.
    """
    for module in (clock_skew, missing_messages, orphans, sweeper):
        monkeypatch.setattr(module, "BATCH", 10)
    database, now = any_system.runtime.database, any_system.runtime.now()
    fill(database, ENDED, now=now)
    settle(database)
    if not database.is_sqlite:
        _keep_statistics(database)
    fill(database, UNFINISHED, now=now, first=ENDED.all)
    with recorded(database) as recording:
        _do_everything(any_system, origin)
    return Filled(database, recording)


def _keep_statistics(database: Database) -> None:
    with database.write() as connection:
        for table in GROWING:
            connection.exec_driver_sql(f"ALTER TABLE {table} SET (autovacuum_enabled = false)")


# ── everything that the service does ────────────────────────────────────────────────────────────


def _do_everything(system: System, origin: Origin) -> None:
    _read(system.runtime)
    _download(system, origin)
    _control(system)
    _maintain(system.runtime)
    _call_the_rest(system)


def _filters() -> Iterator[JobFilter]:
    users, hosts = (None, "user0.example", "rare", "none"), (None, "host0.example", "rare.example")
    for status, user, host in itertools.product((None, *S), users, hosts):
        if user is None or host is None:  # both: see ADR 0077
            yield JobFilter(status, user, host)


def _read(runtime: Runtime) -> None:
    reader = JobReader(runtime.jobs, runtime.cache.download)
    for where in _filters():
        page = tasks.list_jobs(where, runtime=runtime)
        if page:
            tasks.list_jobs(where, before_id=page[-1].job.id, runtime=runtime)
        reader.overview(where)
    views = reader.overview(limit=20)
    job = views[0].job
    tasks.show(job.id, runtime=runtime)
    tasks.history(job.id, runtime=runtime)
    reader.short_ids([view.job.id for view in views])
    reader.find_prefix(job.id[:8])
    reader.count_by_status()
    _read_pages(runtime)
    _read_places(runtime)
    runtime.jobs.stamps([job.id])
    runtime.jobs.count_ahead(job)
    for column in ("host", "user_id"):
        for value in ("host0.example", "user0.example"):
            runtime.jobs.has_queued_of_others(column, value)


def _read_places(runtime: Runtime) -> None:
    """Do what aria2's clients ask for."""
    places = QueuePlaces(runtime.database)
    for user in (None, "user0.example", "none"):
        places.waiting(JobFilter(user_id=user), limit=500)
        places.stopped(JobFilter(user_id=user), limit=500)
    places.ended_without_owner(limit=500)
    for first, last in (("0" * 16, "f" * 16), ("8" * 16, "8" * 16)):
        places.with_gid(first, last, limit=100)


def _read_pages(runtime: Runtime) -> None:
    texts = ((None, None), ("segment", None), ("none", Priority.LOW))
    for where, (text, priority) in itertools.product(_filters(), texts):
        query = PageQuery(text=text, priority=priority, limit=20, rows=100)
        query = replace(query, where=replace(where, status=None))
        if where.status is not None:
            query = replace(query, statuses=frozenset({where.status}))
        page = runtime.jobs.page(query)
        runtime.jobs.page(replace(query, after_id=page.last_id))
        runtime.jobs.page(replace(query, oldest_first=True))
        for order in (Order.SIZE, Order.NAME, Order.PRIORITY):
            _read_pages_by_rank(runtime, replace(query, rank=order))
        if text is None and priority is None:
            _read_pages_by_end(runtime, query)
    runtime.jobs.count_of_user("user0.example", at_most=100)


def _read_pages_by_rank(runtime: Runtime, query: PageQuery) -> None:
    """Lists of more jobs are refused, after as many have been read."""
    with suppress(InvalidInputError):
        page = runtime.jobs.page(query)
        runtime.jobs.page(replace(query, after_rank=page.last_rank))


def _read_pages_by_end(runtime: Runtime, query: PageQuery) -> None:
    ended = replace(query, by_end=True)
    jobs = runtime.jobs.page(ended).jobs
    if jobs:
        end = End(jobs[-1].finished_at or runtime.now(), jobs[-1].id)
        runtime.jobs.page(replace(ended, after_end=end))


def _download(system: System, origin: Origin) -> None:
    """Each way in which an attempt ends."""
    runtime = system.runtime
    found = system.submit(origin.serve("/a.bin", size=1000).url, user_id="user0.example")
    assert run_download(runtime, found.id) is Outcome.COMPLETED
    assert run_download(runtime, found.id) is not Outcome.COMPLETED
    lost = system.submit(origin.serve("/b.bin", size=10, status=404).url, idempotency_key="b")
    assert run_download(runtime, lost.id) is Outcome.FAILED
    later = system.submit(origin.serve("/c.bin", size=10, status=503).url)
    run_download(runtime, later.id)
    assert system.job(later).status is S.WAITING


def _control(system: System) -> None:
    runtime = system.runtime
    job = system.submit("http://127.0.0.1:9/control", idempotency_key="control")
    again = system.submit("http://127.0.0.1:9/control", idempotency_key="control")
    assert again.id == job.id
    for action in (tasks.pause, tasks.resume, tasks.cancel, tasks.retry):
        action(job.id, runtime=runtime)
    running = runtime.jobs.find(statuses=[S.DOWNLOADING], limit=3)
    tasks.pause(running[0].id, runtime=runtime)
    tasks.cancel(running[1].id, runtime=runtime)
    of_rare = JobFilter(user_id="user1.example")
    tasks.control_matching(tasks.Action.PAUSE, of_rare, runtime=runtime)
    tasks.move_matching(of_rare, Priority.HIGH, runtime=runtime)
    tasks.remove_matching(of_rare, runtime=runtime)


def _maintain(runtime: Runtime) -> None:
    """All periodic tasks, the workers' sweep, and what `seen db purge` does."""
    running = runtime.jobs.find(statuses=[S.DOWNLOADING], limit=1)[0]
    runtime.cache.download.apply([update(job_id=running.id, fence=running.fence)])
    for task in (persist_progress, requeue_due, reconcile, cleanup_stale, purge):
        task(runtime)
    runtime.jobs.mark_messages_lost(runtime.now() - timedelta(days=10))
    DiskSweep(
        runtime.jobs,
        runtime.destinations,
        root=runtime.resolve(""),
        allow_any_directory=True,
        drain=runtime.drain,
        clock=runtime.now,
    ).run()
    retention = Retention(runtime.database)
    long_ago = runtime.now() - timedelta(days=19)
    assert retention.count(long_ago)
    assert retention.delete_some(long_ago).job_ids


def _call_the_rest(system: System) -> None:
    """What only rare events cause: a lost file, a duplicate, a state that only the store has."""
    runtime = system.runtime
    jobs, now = runtime.jobs, runtime.now()
    queued = system.submit("http://127.0.0.1:9/rest")
    operations = [Claim(one.id, "w", now) for one in jobs.find(JobFilter(S.QUEUED), limit=64)]
    claimed = [job for job in jobs.perform(operations) if job is not None]
    assert len(claimed) > 60
    verified = Change(S.VERIFYING, now, None, {})
    jobs.perform([Transition(job, verified) for job in claimed])
    one = claim(jobs, system.submit("http://127.0.0.1:9/one").id, worker="w", now=now)
    assert one is not None
    note(jobs, one, "a note", now=now)
    jobs.active_duplicate(one)
    changed = {"max_rate": 9000, "dedup_key": "of-another-request"}
    new = runtime.jobs.get(system.submit("http://127.0.0.1:9/changed").id)
    assert jobs.revise(new, changed, now=now, reason="changed") is not None
    refused = jobs.transition(one, S.QUEUED, now=now, reason="refused", may_repeat=True)
    assert refused is not None
    consume_message(jobs, one.id, now)
    consume_message(jobs, one.id)
    jobs.last_workers([one.id, queued.id])
    jobs.reset_progress([refused], now=now)
    _wait_for_a_users_slot(system, "user0.example")
    (requeued,) = jobs.perform([RequeueForSlot("host0.example", "user0.example", now)])
    assert len(requeued) == 2, "one for the host, one for the user"


def _wait_for_a_users_slot(system: System, user_id: str) -> None:
    jobs, now = system.runtime.jobs, system.runtime.now()
    submitted = system.submit("http://127.0.0.1:9/busy", user_id=user_id)
    busy = claim(jobs, submitted.id, worker="w", now=now)
    assert busy is not None
    changes = {"error_code": "user_busy", "next_attempt_at": now + timedelta(days=1)}
    assert jobs.transition(busy, S.WAITING, now=now, reason="busy", changes=changes) is not None


# ── the tests ───────────────────────────────────────────────────────────────────────────────────


def test_no_statement_reads_many_finished_jobs(filled: Filled) -> None:
    """With the statistics of a time before the unfinished jobs came, with none, and with true ones."""
    assert _methods() - filled.recording.functions == set()
    shapes = filled.recording.statements
    assert all(any(re.match(pattern, shape) for shape in shapes) for pattern in ALLOWED)
    scans, readings = [], []
    for statistics in _statistics(filled.database):
        with filled.database.engine.connect() as connection:
            for shape, statement in shapes.items():
                if not any(re.match(pattern, shape) for pattern in ALLOWED):
                    with as_if_large(connection):
                        found = full_scans(connection, statement)
                        readings.append((rows_read(connection, statement), statistics, shape))
                    with without_table_scans(connection):
                        found += full_scans(connection, statement)
                    scans += [(statistics, shape, one) for one in found]
    assert scans == []
    assert [one for one in readings if one[0] > MAX_ROWS] == []


def test_a_scan_is_found(database: Database, repo: JobRepository) -> None:
    """Statements that read every job, in every way."""
    assert repo.find() == []
    fill(database, Numbers(ended=5_000, queued=0, waiting=0, paused=0, running=0), now=NOW)
    columns = "SELECT id FROM jobs"
    faulty = [
        "SELECT status, count(*) FROM jobs GROUP BY status",
        f"{columns} WHERE url = 'x'",
        f"{columns} WHERE url = 'x' ORDER BY id DESC LIMIT 10",
        "UPDATE jobs SET url = url WHERE url = 'x'",
        "DELETE FROM job_events WHERE reason = 'x'",
        "SELECT key FROM idempotency_keys WHERE key <> 'x'",
    ]
    fine = [f"{columns} ORDER BY id DESC LIMIT 10", f"{columns} WHERE id = 'x'"]
    with database.engine.connect() as connection, as_if_large(connection):
        parameters: Any = () if database.is_sqlite else {}
        assert [s for s in faulty if not full_scans(connection, Statement(s, parameters))] == []
        assert [s for s in fine if full_scans(connection, Statement(s, parameters))] == []
        sorted_all = f"{columns} WHERE status = 'completed' ORDER BY updated_at LIMIT 10"
        assert rows_read(connection, Statement(sorted_all, parameters)) > 4_000 // 5


def _methods() -> set[str]:
    """Return the names of the methods that execute statements."""
    return {
        name
        for of in (JobRepository, Retention)
        for name, _ in inspect.getmembers(of, inspect.isfunction)
        if not name.startswith("_")
    }


def _statistics(database: Database) -> Iterator[str]:
    """Yield the names of the statistics that the planner has for the moment."""
    yield "as they were"
    with database.write() as connection:
        if database.is_sqlite:
            connection.exec_driver_sql("ANALYZE")
        else:
            connection.exec_driver_sql("DELETE FROM pg_statistic")
    database.engine.dispose()
    yield "true" if database.is_sqlite else "none"
    if not database.is_sqlite:
        with database.write() as connection:
            connection.exec_driver_sql("ANALYZE")
        yield "true"
