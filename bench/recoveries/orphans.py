"""The duration of one reconcile with many jobs in the database, some of them orphans."""

from __future__ import annotations

import tempfile
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from sqlalchemy import update

from bench.recoveries.defaults import defaults
from bench.report import Figure
from database.models import jobs as table
from domain.ids import new_job_id
from domain.job import Job, JobStatus
from tasks.periodic.reconcile import reconcile
from tests.support.servers.postgres import PostgresServer
from tests.support.services.system import System
from tests.support.stores.server import StoreServer
from worker.runtime import Runtime

S = JobStatus
#: The states of the other jobs, in the proportions of a service that has run for a while.
_REST = (S.COMPLETED,) * 90 + (S.FAILED,) * 5 + (S.WAITING,) * 3 + (S.PAUSED,) * 2
BATCH = 5_000
AGE = timedelta(hours=1)
#: Waiting jobs are due after this; reconcile corrects times that are beyond the longest back-off.
DUE_IN = timedelta(minutes=4)


def reconciling(jobs: int, orphans: int) -> list[Figure]:
    """Measure it on SQLite and on PostgreSQL."""
    figures: list[Figure] = []
    with StoreServer() as store, PostgresServer() as server:
        for kind, url in (("SQLite", None), ("PostgreSQL", server.create_database())):
            store.flush()
            with _system(store, url) as system:
                _fill(system.runtime, jobs - orphans)
                figures += _measure(system.runtime, kind, jobs, orphans)
    return figures


@contextmanager
def _system(store: StoreServer, url: str | None) -> Iterator[System]:
    with (
        tempfile.TemporaryDirectory(prefix="seen-bench-") as name,
        System(Path(name), store, database_url=url, settings=defaults()) as system,
    ):
        yield system


def _measure(runtime: Runtime, kind: str, jobs: int, orphans: int) -> list[Figure]:
    ids = _add(runtime, [S.DOWNLOADING] * orphans)
    started = time.perf_counter()
    report = reconcile(runtime)
    elapsed = time.perf_counter() - started
    assert report.orphaned == orphans, report
    # A second run measures memory: tracing allocations takes time.
    _make_orphans_again(runtime, ids)
    tracemalloc.start()
    try:
        report = reconcile(runtime)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert report.orphaned == orphans, report
    what = f"reconcile, {orphans:,} orphans of {jobs:,} jobs, {kind}"
    return [
        Figure(what, elapsed, "s", "5"),
        Figure(f"{what}: memory at its peak", peak / 2**20, "MiB"),
    ]


def _fill(runtime: Runtime, count: int) -> None:
    _add(runtime, [_REST[number % len(_REST)] for number in range(count)])


def _add(runtime: Runtime, statuses: list[JobStatus]) -> list[str]:
    """Store old jobs in these states; return their ids."""
    new = [_job(runtime, status) for status in statuses]
    for start in range(0, len(new), BATCH):
        runtime.jobs.add(new[start : start + BATCH])
    return [job.id for job in new]


def _job(runtime: Runtime, status: JobStatus) -> Job:
    then = runtime.now() - AGE
    job_id = new_job_id()
    return Job(
        id=job_id,
        url=f"http://127.0.0.1:9/{job_id}",
        directory="",
        status=status,
        fence=1,
        attempts=1,
        max_attempts=10,
        created_at=then,
        updated_at=then,
        next_attempt_at=runtime.now() + DUE_IN if status is S.WAITING else None,
        host="127.0.0.1",
    )


def _make_orphans_again(runtime: Runtime, ids: list[str]) -> None:
    then = runtime.now() - AGE
    with runtime.database.write() as connection:
        for start in range(0, len(ids), BATCH):
            connection.execute(
                update(table)
                .where(table.c.id.in_(ids[start : start + BATCH]))
                .values(status=S.DOWNLOADING.value, updated_at=then, published_at=None)
            )
