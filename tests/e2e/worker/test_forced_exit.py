"""A worker whose downloads do not stop exits all the same, and loses nothing."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from domain.job import JobStatus
from tests.support.origins.origin import Origin
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
from tests.support.services.system import System
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until


@pytest.fixture
def service(tmp_path: Path, private_store: StoreServer) -> Iterator[System]:
    """A service of its own, whose processes the test starts. Only a signal can end a drain in time."""
    settings = {**LONG_TIMEOUTS, "SEEN_DRAIN_TIMEOUT": "120"}
    with System(tmp_path, private_store, settings=settings) as system:
        yield system


def run_into_a_hanging_disk(system: System, origin: Origin, disk: Disk) -> Download:
    """Submit a download that has a checkpoint, and that waits for its next one for ever."""
    [download] = downloads = slow_downloads(system, origin, 1, size=10_000_000)
    wait_until(
        lambda: all_run(system, downloads) and durable_on_disk(system, download[0]) > 0,
        deadline=20,
        what="the download runs",
    )
    disk.hang()
    return download


def another_worker_goes_on(system: System, origin: Origin, download: Download) -> None:
    """Check that another worker continues at the last checkpoint once the lock has expired."""
    job, file = download
    assert system.job(job).status is JobStatus.DOWNLOADING
    durable = durable_on_disk(system, job)
    hurry([download])
    system.start_worker()
    assert completed(system, download).fence == 2
    assert first_byte(origin, file, -1) == durable > 0


@pytest.mark.parametrize(
    ("pool", "unfinished"),
    [("", "1 job did not stop in time"), ("prefork", "1 task did not stop in time")],
)
def test_a_second_signal_ends_a_worker_at_once(
    service: System, origin: Origin, pool: str, unfinished: str
) -> None:
    disk = Disk(service)
    worker = service.start_worker(pool=pool)
    download = run_into_a_hanging_disk(service, origin, disk)
    worker.send_signal(signal.SIGTERM)
    wait_until(lambda: "Warm shutdown" in service.logs())
    assert worker.poll() is None

    worker.send_signal(signal.SIGTERM)
    assert ended(worker, deadline=20) == 1
    assert "Asked to stop a second time (SIGTERM)" in service.logs()
    assert unfinished in service.logs()
    disk.recover()
    another_worker_goes_on(service, origin, download)


def test_a_drain_that_takes_too_long_ends_by_itself(
    tmp_path: Path, private_store: StoreServer, origin: Origin
) -> None:
    settings = {**LONG_TIMEOUTS, "SEEN_DRAIN_TIMEOUT": "2"}
    with System(tmp_path, private_store, settings=settings) as service:
        disk = Disk(service)
        worker = service.start_worker()
        download = run_into_a_hanging_disk(service, origin, disk)

        worker.send_signal(signal.SIGTERM)
        assert ended(worker, deadline=20) == 1
        assert "Draining took longer than 2 s" in service.logs()
        assert "1 job did not stop in time" in service.logs()
        disk.recover()
        another_worker_goes_on(service, origin, download)


def test_what_the_broker_hands_to_a_leaving_worker_goes_back_before_its_end(
    service: System, origin: Origin
) -> None:
    disk = Disk(service)
    worker = service.start_worker()
    run_into_a_hanging_disk(service, origin, disk)
    worker.send_signal(signal.SIGTERM)
    wait_until(lambda: "Warm shutdown" in service.logs())
    # A command ends its event loop; the reply to its last BRPOP is still pending.
    command(service, "ping")
    service.submit(origin.serve("/next.bin", size=1000).url)
    wait_until(lambda: service.backlog() == 1, deadline=20)
    assert worker.poll() is None
    disk.recover()
    assert ended(worker, deadline=20) == 0
