"""A final state that the store has before SQL: kept as long as needed, and no longer."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from domain.job import Job, JobStatus
from tests.support.origins.origin import Origin
from tests.support.servers.postgres import PostgresServer
from tests.support.services.running import running
from tests.support.services.system import System
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until
from worker.outcome import Outcome

S = JobStatus
#: Longer than any test, and far below the TTL of a final state that SQL does not have yet.
SHORT_TTL = 300
SETTINGS = {
    "SEEN_PROGRESS_TTL": str(SHORT_TTL),
    "SEEN_LOCK_TTL": "60",
    "SEEN_ORPHAN_AFTER": "60",
}


@pytest.fixture
def system(tmp_path: Path, store: StoreServer, migrated_postgres_url: str) -> Iterator[System]:
    with System(tmp_path, store, database_url=migrated_postgres_url, settings=SETTINGS) as system:
        yield system


def shown_status(system: System, job: Job) -> JobStatus | None:
    progress = system.runtime.cache.download.get_progress(job.id)
    return None if progress is None else progress.status


def ttl(system: System, job: Job) -> float:
    cache = system.runtime.cache
    return cache.service.ttl(cache.keys.download_job_key(job.id)) or 0.0


def not_persisted(system: System) -> list[str]:
    return [job_id for job_id, _ in system.runtime.cache.download.dirty()]


def check_unsaved_end(
    system: System, job: Job, postgres: PostgresServer, outcomes: list[Outcome], end: JobStatus
) -> None:
    """Check that only the store has the final state; then start the database again."""
    wait_until(lambda: shown_status(system, job) is end, what="the final state in the store")
    assert outcomes == []
    assert ttl(system, job) > SHORT_TTL
    assert not_persisted(system) == [job.id]
    postgres.start()


def test_an_early_failure_leaves_the_store_once_sql_has_it(
    system: System, origin: Origin, postgres: PostgresServer
) -> None:
    gate = threading.Event()
    file = origin.serve("/a.bin", size=100_000, gate=gate, gate_after=50_000, truncate_after=50_000)
    job = system.submit(file.url, max_attempts=1)
    with running(system, job) as outcomes:
        wait_until(lambda: shown_status(system, job) is S.DOWNLOADING)
        postgres.stop()
        gate.set()
        check_unsaved_end(system, job, postgres, outcomes, S.FAILED)

    assert outcomes == [Outcome.FAILED]
    assert system.job(job).status is S.FAILED
    assert 0 < ttl(system, job) <= SHORT_TTL
    assert not_persisted(system) == []
    assert shown_status(system, job) is S.FAILED


def test_an_early_failure_counts_no_discarded_bytes(
    system: System, origin: Origin, postgres: PostgresServer
) -> None:
    """Else the part file would be kept for a retry that cannot use it."""
    gate = threading.Event()
    file = origin.serve("/a.bin", size=100_000, gate=gate, gate_after=50_000)
    job = system.submit(file.url, checksum="sha256:" + "0" * 64)
    with running(system, job) as outcomes:
        wait_until(lambda: shown_status(system, job) is S.DOWNLOADING)
        postgres.stop()
        gate.set()
        check_unsaved_end(system, job, postgres, outcomes, S.FAILED)
        progress = system.runtime.cache.download.get_progress(job.id)
        assert progress is not None
        assert progress.bytes_durable == 0
    assert (system.job(job).status, system.job(job).bytes_durable) == (S.FAILED, 0)


def test_an_early_completion_leaves_the_store_once_sql_has_it(
    system: System, origin: Origin, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a database that stops between the check of the fence and the end."""
    file = origin.serve("/a.bin", size=100_000)
    job = system.submit(file.url)
    really_link = os.link

    def link(source: str, target: str, **options: Any) -> None:
        if source.startswith("/proc"):  # the publication; other links only test the folder
            postgres.stop()
        really_link(source, target, **options)

    monkeypatch.setattr(os, "link", link)
    with running(system, job) as outcomes:
        check_unsaved_end(system, job, postgres, outcomes, S.COMPLETED)

    assert outcomes == [Outcome.COMPLETED]
    assert (system.job(job).status, system.job(job).sha256) == (S.COMPLETED, file.sha256)
    assert 0 < ttl(system, job) <= SHORT_TTL
    assert not_persisted(system) == []
    assert shown_status(system, job) is S.COMPLETED
