"""A worker that is stopped requeues its downloads at once, and another continues them."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

import tasks
from domain.files import WORKING_PREFIX
from domain.job import Job, JobStatus
from tests.support.origins.origin import Origin
from tests.support.servers.dead_host import DeadHost
from tests.support.servers.postgres import PostgresServer
from tests.support.services.draining import (
    LONG_TIMEOUTS,
    Disk,
    Download,
    all_run,
    command,
    completed,
    durable_on_disk,
    ended,
    first_byte,
    hurry,
    slow_downloads,
)
from tests.support.services.running import downloaded
from tests.support.services.system import System
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until
from worker.storage.publishing.record import PublicationRecord

S = JobStatus

#: Seconds within which every running download is requeued.
REQUEUED = 25.0
#: Reading this many bytes takes many times longer than a drain.
WHOLE_SIZE = 16 * 2**30


@pytest.fixture
def service(tmp_path: Path, private_store: StoreServer) -> Iterator[System]:
    """A service of its own, whose processes the test starts."""
    with System(tmp_path, private_store, settings=LONG_TIMEOUTS) as system:
        yield system


def wait_until_all_run(system: System, downloads: list[Download]) -> None:
    wait_until(lambda: all_run(system, downloads), deadline=20, what="all downloads run")


class Downloads:
    """Downloads of one worker that wait for different things. Create them before the worker.

    Args:
        size: how many there are; a multiple of ten.
    """

    def __init__(self, system: System, origin: Origin, dead: DeadHost, size: int) -> None:
        tenth = size // 10
        self._system, self._origin = system, origin
        #: Files that an origin sends slowly, not at all, or after some refusals.
        self.slow = self._serve("slow", 4 * tenth, size=3_000_000, bytes_per_second=60_000)
        self.silent = self._serve("silent", 2 * tenth, size=600_000, hang_after=300_000, faults=1)
        self.refused: list[Download] = []
        #: Jobs that wait for a connection, and jobs whose file is being verified: both outlast a test.
        self.unconnected = [system.submit(dead.url(f"/{number}.bin")) for number in range(tenth)]
        self.whole = [self._publish(number) for number in range(tenth)]

    @property
    def served(self) -> dict[str, Download]:
        """Downloads that can be completed, by job id."""
        return {job.id: (job, file) for job, file in (*self.slow, *self.silent, *self.refused)}

    def add_refused(self) -> None:
        """Add the refused ones when all others wait: they pause between short retries for seconds."""
        # The pauses grow; the fifth would be a back-off in SQL.
        count = len(self.silent)
        self.refused = self._serve("refused", count, size=10_000, statuses=[503] * 4)

    def rows(self) -> list[Job]:
        """Every job as the database has it."""
        jobs = [*(job for job, _ in self.served.values()), *self.unconnected, *self.whole]
        return list(self._system.runtime.jobs.get_many([job.id for job in jobs]).values())

    def are_busy(self) -> bool:
        """Whether each download has reached what it is to wait for."""
        bytes_wait = [job for job, _ in (*self.slow, *self.silent)]
        return (
            all(row.status in {S.DOWNLOADING, S.VERIFYING} for row in self.rows())
            and all(self._is_read(job) for job in self.whole)
            and all(self._origin.requests_for(file.path) for _, file in self.refused)
            and all(downloaded(self._system, job) > 0 for job in bytes_wait)
        )

    def _is_read(self, job: Job) -> bool:
        """Whether a published file is being compared with its publication record."""
        progress = self._system.runtime.cache.download.get_progress(job.id)
        return progress is not None and progress.status == S.VERIFYING

    def heal(self) -> None:
        """Serve the rest at full speed, and cancel what cannot be completed."""
        for _, file in self.served.values():
            file.behave(bytes_per_second=None, statuses=[])
        for job in (*self.unconnected, *self.whole):
            tasks.cancel(job.id, runtime=self._system.runtime)

    def _serve(self, kind: str, count: int, **file: Any) -> list[Download]:
        files = [self._origin.serve(f"/{kind}-{number}.bin", **file) for number in range(count)]
        return [(self._system.submit(one.url), one) for one in files]

    def _publish(self, number: int) -> Job:
        """Submit a job whose file was published before a crash. The file is sparse."""
        job = self._system.submit(self._origin.url(f"/whole-{number}.bin"))
        self._system.downloads.mkdir(exist_ok=True)
        part = self._system.downloads / f"{WORKING_PREFIX}{job.id}.part"
        part.touch()
        os.truncate(part, WHOLE_SIZE)
        name = f"whole-{number}.bin"
        digests = (f"sha256:{'0' * 64}",)
        record = PublicationRecord(
            name=name, size=WHOLE_SIZE, inode=part.stat().st_ino, digests=digests
        )
        part.with_suffix(".publish").write_text(json.dumps(asdict(record)))
        os.link(part, self._system.downloads / name)
        return job


@pytest.mark.parametrize(("pool", "size"), [("", 50), ("prefork", 10)])
def test_downloads_are_requeued_in_seconds_whatever_they_wait_for(
    service: System, origin: Origin, pool: str, size: int
) -> None:
    Disk(service, sync_seconds=0.7)
    with DeadHost() as dead:
        downloads = Downloads(service, origin, dead, size)
        worker = service.start_worker(concurrency=size, pool=pool)
        wait_until(downloads.are_busy, deadline=60, what="the first downloads wait")
        downloads.add_refused()
        wait_until(downloads.are_busy, deadline=15, what="all downloads wait")

        worker.send_signal(signal.SIGTERM)
        wait_until(
            lambda: (
                all(row.published_at for row in downloads.rows() if row.status is S.QUEUED)
                and service.runtime.jobs.count_by_status() == {S.QUEUED: size}
            ),
            deadline=REQUEUED,
            what="every download is requeued",
        )
        assert ended(worker, deadline=30) == 0

        rows = {row.id: row for row in downloads.rows()}
        assert {row.attempts for row in rows.values()} == {0}, "a requeue uses no attempt"
        assert not service.runtime.cache.held_download_locks(list(rows))
        assert service.backlog() == size
        for job, _ in downloads.served.values():
            assert rows[job.id].bytes_durable == durable_on_disk(service, job)
        assert all(
            rows[job.id].bytes_durable > 0 for job, _ in (*downloads.slow, *downloads.silent)
        )
        assert {rows[job.id].bytes_durable for job in downloads.whole} == {WHOLE_SIZE}

        downloads.heal()
        service.start_worker(concurrency=size)
        for job, file in downloads.served.values():
            done = service.wait_for(job, S.COMPLETED)
            assert (done.sha256, done.attempts, done.fence) == (file.sha256, 1, 2)
            assert first_byte(origin, file, -1) == rows[job.id].bytes_durable


# ── how long a drain takes, and what starts one ─────────────────────────────────────────────────


def test_another_worker_has_the_next_bytes_long_before_locks_expire(
    service: System, origin: Origin
) -> None:
    first = service.start_worker()
    downloads = slow_downloads(service, origin, 4)
    wait_until_all_run(service, downloads)
    service.start_worker()

    def others_have_bytes() -> bool:
        logs = [origin.requests_for(file.path) for _, file in downloads]
        return all(len(log) == 2 and log[1].bytes_sent > 0 for log in logs)

    first.send_signal(signal.SIGTERM)
    wait_until(others_have_bytes, deadline=15)
    assert ended(first, deadline=30) == 0
    assert all(first_byte(origin, file, 1) > 0 for _, file in downloads)
    assert {service.job(job).attempts for job, _ in downloads} == {1}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_signals_of_a_terminal_drain_as_well(
    service: System, origin: Origin, number: signal.Signals
) -> None:
    worker = service.start_worker()
    wait_until_all_run(service, slow_downloads(service, origin, 2))

    worker.send_signal(number)
    assert ended(worker, deadline=30) == 0
    assert service.runtime.jobs.count_by_status() == {S.QUEUED: 2}


def test_a_worker_that_celery_shuts_down_drains_as_well(service: System, origin: Origin) -> None:
    worker = service.start_worker()
    wait_until_all_run(service, slow_downloads(service, origin, 2))

    command(service, "shutdown")
    assert ended(worker, deadline=30) == 0
    assert service.runtime.jobs.count_by_status() == {S.QUEUED: 2}


# ── while the store or the database is down ─────────────────────────────────────────────────────


def test_without_store_the_database_has_every_download_back(
    service: System, private_store: StoreServer, origin: Origin
) -> None:
    worker = service.start_worker()
    downloads = slow_downloads(service, origin, 4)
    wait_until_all_run(service, downloads)

    private_store.stop()
    worker.send_signal(signal.SIGTERM)
    assert ended(worker, deadline=10) == 0
    assert service.runtime.jobs.count_by_status() == {S.QUEUED: 4}

    private_store.start()
    hurry(downloads)
    service.start_worker()
    for download in downloads:
        done = completed(service, download)
        assert (done.attempts, done.fence) == (1, 2)
        assert first_byte(origin, download[1], -1) > 0


def test_without_database_it_ends_as_well_and_nothing_is_lost(
    tmp_path: Path,
    private_store: StoreServer,
    postgres: PostgresServer,
    migrated_postgres_url: str,
    origin: Origin,
) -> None:
    with System(
        tmp_path, private_store, settings=LONG_TIMEOUTS, database_url=migrated_postgres_url
    ) as service:
        worker = service.start_worker()
        downloads = slow_downloads(service, origin, 4)
        wait_until_all_run(service, downloads)

        postgres.stop()
        worker.send_signal(signal.SIGTERM)
        assert ended(worker, deadline=10) == 0

        postgres.start()
        hurry(downloads)
        service.start_worker()
        for download in downloads:
            assert completed(service, download).fence == 2
            assert first_byte(origin, download[1], -1) > 0
