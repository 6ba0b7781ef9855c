"""A system of the version before, with jobs in every state, is replaced process by process."""

from __future__ import annotations

import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

import tasks
from database import Database
from domain.job import JobStatus
from tests.support.origins.origin import Origin, ServedFile
from tests.support.servers.process import Process
from tests.support.services.draining import ended
from tests.support.services.system import System, client_runtime
from tests.support.services.version_before import VersionBefore
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until
from worker.runtime import Runtime

S = JobStatus

#: What the two workers run at once.
RUNNING = 8
#: Each request brings a download so far until the gate opens: three would bring it all but to its end.
SIZE, A_THIRD = 800_000, 250_000

Download = tuple[str, ServedFile]


class Upgrade:
    """A system in two versions: `before` and, once it is made, `after`."""

    def __init__(self, folder: Path, store: StoreServer, origin: Origin, database_url: str) -> None:
        self.origin = origin
        self.gate = threading.Event()
        self._folder, self._store, self._database_url = folder, store, database_url
        self.settings = {
            "SEEN_LOW_SPEED_TIME": "120",
            "SEEN_MIN_BYTES_PER_MINUTE": "0",
            "SEEN_HOST_CONNECTIONS": "0",
            # A job that waits does so until it is resumed.
            "SEEN_RETRY_BACKOFF": "300",
            "SEEN_RETRY_BACKOFF_MAX": "300",
        }
        self.variables = {
            **self.settings,
            "SEEN_CACHE_ADDR": store.addr,
            "SEEN_CACHE_PASSWORD": store.password,
            "SEEN_DATA_DIR": str(folder),
            "SEEN_DATABASE_URL": database_url,
            "SEEN_ALLOWED_NETWORKS": "127.0.0.0/8",
        }
        self.before = VersionBefore(folder, self.variables, database_url)

    def after(self) -> System:
        """Migrate the database, as a process of this version does."""
        return System(
            self._folder, self._store, database_url=self._database_url, settings=self.settings
        )

    def submit_before(self, name: str, **behaviour: Any) -> Download:
        file = self.origin.serve(f"/{name}.bin", size=SIZE, **behaviour)
        return self.before.submit(file.url), file

    def submit_gated(self, name: str) -> Download:
        return self.submit_before(name, gate=self.gate, gate_after=A_THIRD)

    def statuses(self) -> dict[str, str]:
        """The statuses in SQL, by the jobs' ids, whatever the database's revision."""
        database = Database(self._database_url)
        with database.read() as connection:
            rows = connection.execute(text("SELECT id, status FROM jobs"))
            found = {row.id: row.status for row in rows}
        database.close()
        return found

    def wait_for(self, downloads: Sequence[Download], status: JobStatus) -> None:
        wanted = {job_id: status.value for job_id, _ in downloads}

        def reached() -> bool:
            return wanted.items() <= self.statuses().items()

        wait_until(reached, deadline=60, what=f"{len(wanted)} jobs are {status}")


def stop(*processes: Process) -> None:
    for process in processes:
        process.send_signal(signal.SIGTERM)
    for process in processes:
        ended(process, deadline=30)


def have_bytes(runtime: Runtime, downloads: Sequence[Download]) -> None:
    """Wait until each job has bytes that its next attempt can continue from."""

    def all_have() -> bool:
        found = runtime.cache.download.get_many([job_id for job_id, _ in downloads])
        return len(found) == len(downloads) and all(one.bytes_durable for one in found.values())

    wait_until(all_have, deadline=60, what="all downloads have durable bytes")


def requests_from_zero(origin: Origin, file: ServedFile) -> int:
    log = origin.requests_for(file.path)
    return sum(entry.range is None or entry.range[0] == 0 for entry in log)


@pytest.mark.timeout(300)
def test_rolling_upgrade_loses_nothing_and_restarts_nothing_from_zero(
    tmp_path: Path, private_store: StoreServer, origin: Origin, database_url: str
) -> None:
    upgrade = Upgrade(tmp_path, private_store, origin, database_url)
    with upgrade.before as before:
        old_maintenance = [before.start_worker("maintenance", concurrency=2), before.start_beat()]
        old_workers = [before.start_worker() for _ in range(2)]
        paused, waiting, running, queued = jobs_in_every_state(upgrade)
        there = [paused, waiting, *running, *queued]

        with upgrade.after() as after:  # the database is migrated here, under all that runs
            shared = submit_in_both_versions(upgrade, after, there)
            after.start_worker()
            stop(old_workers[0])
            new_maintenance = after.start_maintenance()
            after.start_worker()
            stop(old_workers[1])
            stop(*old_maintenance)
            upgrade.wait_for(running, S.DOWNLOADING)
            # The process of the version before that submits and controls has run all the time.
            before.control("pause", running[0][0])
            upgrade.wait_for(running[:1], S.PAUSED)
            upgrade.gate.set()
            for job_id, _ in (running[0], paused, waiting):
                tasks.resume(job_id, runtime=after.runtime)

            assert_each_is_complete(upgrade, after, [*there, *shared], broken=waiting[0])
            assert all(process.poll() is None for process in new_maintenance)


def jobs_in_every_state(
    upgrade: Upgrade,
) -> tuple[Download, Download, list[Download], list[Download]]:
    """Submit jobs in the version before: one paused, one waiting, some running, some queued."""
    runtime = client_runtime(upgrade.variables)
    paused = upgrade.submit_gated("paused")
    waiting = upgrade.submit_before("waiting", truncate_after=A_THIRD, faults=1)
    have_bytes(runtime, [paused])
    upgrade.before.control("pause", paused[0])
    upgrade.wait_for([paused], S.PAUSED)
    upgrade.wait_for([waiting], S.WAITING)
    running = [upgrade.submit_gated(f"running{number}") for number in range(RUNNING)]
    have_bytes(runtime, running)
    queued = [upgrade.submit_before(f"queued{number}") for number in range(4)]
    runtime.close()
    assert sorted(upgrade.statuses().values()) == sorted(
        [*["downloading"] * RUNNING, *["queued"] * 4, "paused", "waiting"]
    )
    return paused, waiting, running, queued


def assert_each_is_complete(
    upgrade: Upgrade, after: System, downloads: Sequence[Download], *, broken: str
) -> None:
    """Each has its file, from bytes that were sent once, in one attempt; `broken` in two."""
    for job_id, file in downloads:
        done = after.wait_for(after.runtime.jobs.get(job_id), S.COMPLETED, deadline=60)
        assert done.sha256 == file.sha256
        assert done.attempts == (2 if job_id == broken else 1), done.url
        assert requests_from_zero(upgrade.origin, file) == 1, file.path
    assert upgrade.statuses().keys() == {job_id for job_id, _ in downloads}
    files = [one for one in after.downloads.iterdir() if one.is_file()]
    assert len(files) == len(downloads), "a part file or a second copy is left"


def submit_in_both_versions(
    upgrade: Upgrade, after: System, there: Sequence[Download]
) -> list[Download]:
    """Submit in both versions what there is already, and new files first in one, then in the other."""
    before = upgrade.before
    for job_id, file in there:
        assert before.submit(file.url) == job_id
        assert after.submit(file.url).id == job_id
    files = [upgrade.origin.serve(f"/shared{number}.bin", size=SIZE) for number in range(4)]
    new: list[Download] = []
    for number, file in enumerate(files):
        if number % 2:
            job_id, other = before.submit(file.url), after.submit(file.url).id
        else:
            job_id = after.submit(file.url).id
            other = before.submit(file.url)
        assert job_id == other
        new.append((job_id, file))
    return new
