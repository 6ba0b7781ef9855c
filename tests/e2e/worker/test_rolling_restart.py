"""Workers are replaced one by one under load, as for a new version, without an effect on downloads."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

from domain.job import JobStatus
from tests.support.origins.origin import Origin
from tests.support.servers.process import Process
from tests.support.services.draining import Download, all_run, ended, slow_downloads
from tests.support.services.system import System
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until

S = JobStatus

DOWNLOADS = 50
#: Each request brings a download so far, until the gate opens: it takes three and a little more.
SIZE, A_THIRD = 800_000, 250_000


def restart(system: System, worker: Process) -> Process:
    """Stop a worker, wait until it has ended, and start another one."""
    worker.send_signal(signal.SIGTERM)
    assert ended(worker, deadline=10) == 0
    return system.start_worker(concurrency=DOWNLOADS)


def requests_from_zero(origin: Origin, download: Download) -> int:
    log = origin.requests_for(download[1].path)
    return sum(entry.range is None or entry.range[0] == 0 for entry in log)


def test_fifty_downloads_survive_the_restart_of_each_worker(
    tmp_path: Path, private_store: StoreServer, origin: Origin
) -> None:
    settings = {"SEEN_HOST_CONNECTIONS": "0", "SEEN_LOW_SPEED_TIME": "30"}
    with System(tmp_path, private_store, settings=settings) as service:
        service.start_maintenance()
        workers = [service.start_worker(concurrency=DOWNLOADS) for _ in range(2)]
        gate = threading.Event()
        downloads = slow_downloads(
            service, origin, DOWNLOADS, size=SIZE, gate=gate, gate_after=A_THIRD
        )
        wait_until(lambda: all_run(service, downloads), deadline=20, what="all downloads run")

        for worker in workers:
            restart(service, worker)
            wait_until(lambda: service.runtime.jobs.count_by_status() == {S.DOWNLOADING: DOWNLOADS})
        gate.set()

        for job, file in downloads:
            done = service.wait_for(job, S.COMPLETED, deadline=60)
            assert (done.sha256, done.attempts) == (file.sha256, 1)
        assert all(requests_from_zero(origin, one) == 1 for one in downloads)
        assert all(len(origin.requests_for(file.path)) in {2, 3} for _, file in downloads)
