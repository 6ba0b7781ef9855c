"""A worker that is told to end hands its downloads back, checkpointed, and another one goes on from there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

import tasks
from domain.job import WORKING_PREFIX, Job, JobStatus
from tests.support.dead_host import DeadHost
from tests.support.origin import Origin, ServedFile
from tests.support.postgres import PostgresServer
from tests.support.process import Process
from tests.support.store import StoreServer
from tests.support.system import ROOT, System
from tests.support.wait import wait_until

S = JobStatus

SLOW_DISK = ROOT / "tests" / "support" / "slow_disk"
#: Nothing but the drain may end a download that stands still.
PATIENT: Mapping[str, str] = {
    "SEEN_LOW_SPEED_TIME": "60",
    "SEEN_CONNECT_TIMEOUT": "60",
    "SEEN_SHORT_RETRIES": "9",
    "SEEN_HOST_CONNECTIONS": "0",
}
#: Every running download is handed back within this time. Seconds.
HANDED_BACK = 5.0
#: Reading so much takes longer than handing it back, many times.
WHOLE_SIZE = 16 * 2**30


class Disk:
    """The disk of the processes that a system starts: slow, and hanging on demand."""

    def __init__(self, system: System, *, sync_seconds: float = 0.0) -> None:
        self._hangs = system.folder / "disk-hangs"
        system.environment |= {
            "PYTHONPATH": f"{SLOW_DISK}:{ROOT}",
            "TEST_SYNC_SECONDS": str(sync_seconds),
            "TEST_DISK_HANGS": str(self._hangs),
        }

    def hang(self) -> None:
        """Let no fdatasync return any more."""
        self._hangs.touch()

    def recover(self) -> None:
        """Let them return."""
        self._hangs.unlink()


@pytest.fixture
def service(tmp_path: Path, private_store: StoreServer) -> Iterator[System]:
    """A service of its own, whose processes the test starts."""
    with System(tmp_path, private_store, settings=PATIENT) as system:
        yield system


def seen_bytes(system: System, job: Job) -> int:
    progress = system.runtime.cache.download.get_progress(job.id)
    return 0 if progress is None else progress.bytes_downloaded


def durable_on_disk(system: System, job: Job) -> int:
    """How many bytes the checkpoint beside a job's part file vouches for."""
    checkpoint = system.downloads / f"{WORKING_PREFIX}{job.id}.json"
    if not checkpoint.exists():
        return 0
    return sum(end - start for start, end in json.loads(checkpoint.read_text())["written"])


def ended(worker: Process, *, deadline: float) -> int:
    """Wait for a worker's end, and return its exit status."""
    wait_until(lambda: worker.poll() is not None, deadline=deadline, what="the worker ended")
    assert worker.returncode is not None
    return worker.returncode


# ── everything that a download can be doing ─────────────────────────────────────────────────────


class Crowd:
    """Downloads of one worker, each of them waiting for something else. Gather it before the worker.

    Args:
        size: how many there are; a multiple of ten.
    """

    def __init__(self, system: System, origin: Origin, dead: DeadHost, size: int) -> None:
        tenth = size // 10
        self._system, self._origin = system, origin
        #: What an origin sends slowly, not at all, or after it has refused for a while.
        self.slow = self._serve("slow", 4 * tenth, size=3_000_000, bytes_per_second=60_000)
        self.silent = self._serve("silent", 2 * tenth, size=600_000, hang_after=300_000, faults=1)
        # Each pause is longer than the one before; the fifth would be waited in SQL.
        self.refused = self._serve("refused", 2 * tenth, size=10_000, statuses=[503] * 4)
        #: What waits for a host, and what has only to be read: for longer than a test takes.
        self.unheard = [system.submit(dead.url(f"/{number}.bin")) for number in range(tenth)]
        self.whole = [self._publish(number) for number in range(tenth)]

    @property
    def served(self) -> dict[str, tuple[Job, ServedFile]]:
        """What can be completed, by job id."""
        return {job.id: (job, file) for job, file in (*self.slow, *self.silent, *self.refused)}

    def rows(self) -> list[Job]:
        """Every job as the database has it."""
        jobs = [*(job for job, _ in self.served.values()), *self.unheard, *self.whole]
        return list(self._system.runtime.jobs.get_many([job.id for job in jobs]).values())

    def is_busy(self) -> bool:
        """Whether each of them does what it is there for."""
        bytes_wait = [job for job, _ in (*self.slow, *self.silent)]
        return (
            all(row.status in {S.DOWNLOADING, S.VERIFYING} for row in self.rows())
            and all(self._system.job(job).status is S.VERIFYING for job in self.whole)
            and all(self._origin.requests_for(file.path) for _, file in self.refused)
            and all(seen_bytes(self._system, job) > 0 for job in bytes_wait)
        )

    def heal(self) -> None:
        """Let what can be completed be quick, and give up the rest."""
        for _, file in self.served.values():
            file.behave(bytes_per_second=None, statuses=[])
        for job in (*self.unheard, *self.whole):
            tasks.cancel(job.id, runtime=self._system.runtime)

    def _serve(self, kind: str, count: int, **file: Any) -> list[tuple[Job, ServedFile]]:
        files = [self._origin.serve(f"/{kind}-{number}.bin", **file) for number in range(count)]
        return [(self._system.submit(one.url), one) for one in files]

    def _publish(self, number: int) -> Job:
        """Submit a job whose file stands under its name already, as after a crash. It is all holes."""
        job = self._system.submit(self._origin.url(f"/whole-{number}.bin"))
        self._system.downloads.mkdir(exist_ok=True)
        part = self._system.downloads / f"{WORKING_PREFIX}{job.id}.part"
        part.touch()
        os.truncate(part, WHOLE_SIZE)
        os.link(part, self._system.downloads / f"whole-{number}.bin")
        return job


@pytest.mark.parametrize(("pool", "size"), [("", 50), ("prefork", 10)])
def test_whatever_downloads_wait_for_they_are_handed_back_in_seconds(
    service: System, origin: Origin, pool: str, size: int
) -> None:
    Disk(service, sync_seconds=0.3)
    with DeadHost() as dead:
        crowd = Crowd(service, origin, dead, size)
        worker = service.start_worker(concurrency=size, pool=pool)
        wait_until(crowd.is_busy, deadline=30)

        worker.send_signal(signal.SIGTERM)
        wait_until(
            lambda: (
                all(row.published_at for row in crowd.rows() if row.status is S.QUEUED)
                and service.runtime.jobs.count_by_status() == {S.QUEUED: size}
            ),
            deadline=HANDED_BACK,
            what="every download is handed back",
        )
        assert ended(worker, deadline=5) == 0

        rows = {row.id: row for row in crowd.rows()}
        assert {row.attempts for row in rows.values()} == {0}, "handing back uses no attempt"
        assert not service.runtime.cache.which_locks_live(list(rows))
        assert service.runtime.broker.backlog() == size
        for job, _ in crowd.served.values():
            assert rows[job.id].bytes_durable == durable_on_disk(service, job)
        assert all(rows[job.id].bytes_durable > 0 for job, _ in (*crowd.slow, *crowd.silent))
        assert {rows[job.id].bytes_durable for job in crowd.whole} == {WHOLE_SIZE}

        crowd.heal()
        service.start_worker(concurrency=size)
        for job, file in crowd.served.values():
            done = service.wait_for(job, S.COMPLETED)
            assert (done.sha256, done.attempts, done.fence) == (file.sha256, 1, 2)
            durable, last = rows[job.id].bytes_durable, origin.requests_for(file.path)[-1]
            assert (last.range or (0, None))[0] == durable


# ── how long it takes ───────────────────────────────────────────────────────────────────────────


def slow_downloads(system: System, origin: Origin, count: int) -> list[tuple[Job, ServedFile]]:
    """Submit downloads of half a minute each."""
    files = [
        origin.serve(f"/{number}.bin", size=3_000_000, bytes_per_second=100_000)
        for number in range(count)
    ]
    return [(system.submit(file.url), file) for file in files]


def all_run(system: System, downloads: Sequence[tuple[Job, ServedFile]]) -> bool:
    return all(seen_bytes(system, job) > 50_000 for job, _ in downloads)


@pytest.mark.parametrize("pool", ["", "prefork"])
def test_another_worker_has_the_next_bytes_within_three_seconds(
    service: System, origin: Origin, pool: str
) -> None:
    first = service.start_worker(pool=pool)
    downloads = slow_downloads(service, origin, 4)
    wait_until(lambda: all_run(service, downloads), deadline=20)
    service.start_worker(pool=pool)

    told = time.monotonic()
    first.send_signal(signal.SIGTERM)
    for _, file in downloads:
        wait_until(lambda file=file: len(origin.requests_for(file.path)) == 2)
        wait_until(lambda file=file: origin.requests_for(file.path)[1].bytes_sent > 0)
    assert time.monotonic() - told < 3
    assert ended(first, deadline=5) == 0
    for job, file in downloads:
        file.behave(bytes_per_second=None)
        assert (origin.requests_for(file.path)[1].range or (0, None))[0] > 0
        assert service.job(job).attempts == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_signals_of_a_terminal_drain_as_well(
    service: System, origin: Origin, number: signal.Signals
) -> None:
    worker = service.start_worker()
    downloads = slow_downloads(service, origin, 2)
    wait_until(lambda: all_run(service, downloads))

    worker.send_signal(number)
    assert ended(worker, deadline=5) == 0
    assert service.runtime.jobs.count_by_status() == {S.QUEUED: 2}


def test_so_does_a_worker_that_celery_itself_tells_to_end(service: System, origin: Origin) -> None:
    worker = service.start_worker()
    downloads = slow_downloads(service, origin, 2)
    wait_until(lambda: all_run(service, downloads))

    subprocess.run(
        [sys.executable, "-m", "celery", "-A", "worker.app", "control", "shutdown"],
        env=service.environment,
        cwd=ROOT,
        capture_output=True,
        check=False,  # nobody answers who is gone
        timeout=30,
    )
    assert ended(worker, deadline=5) == 0
    assert service.runtime.jobs.count_by_status() == {S.QUEUED: 2}


# ── when it cannot stop ─────────────────────────────────────────────────────────────────────────


def run_into_a_hanging_disk(system: System, origin: Origin, disk: Disk) -> tuple[Job, ServedFile]:
    """Submit a download that has a checkpoint, and waits for its next one for ever."""
    [(job, file)] = downloads = slow_downloads(system, origin, 1)
    wait_until(lambda: all_run(system, downloads) and durable_on_disk(system, job) > 0, deadline=20)
    disk.hang()
    return job, file


def goes_on(system: System, origin: Origin, job: Job, file: ServedFile) -> None:
    """See another worker go on from the last checkpoint, once the lock of the first has expired."""
    durable = durable_on_disk(system, job)
    assert durable > 0
    file.behave(bytes_per_second=None)
    system.start_all()
    done = system.wait_for(job, S.COMPLETED)
    assert (done.sha256, done.fence) == (file.sha256, 2)
    assert (origin.requests_for(file.path)[-1].range or (0, None))[0] == durable


@pytest.mark.parametrize("pool", ["", "prefork"])
def test_a_second_signal_ends_what_cannot_stop_at_once(
    service: System, origin: Origin, pool: str
) -> None:
    disk = Disk(service)
    worker = service.start_worker(pool=pool)
    job, file = run_into_a_hanging_disk(service, origin, disk)
    worker.send_signal(signal.SIGTERM)
    wait_until(lambda: "Told to end (SIGTERM)" in service.logs())
    assert worker.poll() is None

    worker.send_signal(signal.SIGTERM)
    assert ended(worker, deadline=1) == 1
    assert "a second time (SIGTERM)" in service.logs()
    assert "1 downloads did not stop in time" in service.logs()
    assert service.job(job).status is S.DOWNLOADING
    disk.recover()
    goes_on(service, origin, job, file)


def test_a_drain_that_takes_too_long_ends_by_itself(
    tmp_path: Path, private_store: StoreServer, origin: Origin
) -> None:
    settings = {**PATIENT, "SEEN_DRAIN_TIMEOUT": "2"}
    with System(tmp_path, private_store, settings=settings) as service:
        disk = Disk(service)
        worker = service.start_worker()
        job, file = run_into_a_hanging_disk(service, origin, disk)

        worker.send_signal(signal.SIGTERM)
        assert ended(worker, deadline=4) == 1
        assert "longer than 2 s" in service.logs()
        assert "1 downloads did not stop in time" in service.logs()
        disk.recover()
        goes_on(service, origin, job, file)


def test_a_message_that_reaches_a_leaving_worker_goes_back_before_the_worker_ends(
    service: System, origin: Origin
) -> None:
    disk = Disk(service)
    worker = service.start_worker()
    run_into_a_hanging_disk(service, origin, disk)
    worker.send_signal(signal.SIGTERM)
    # It has places left, and still asks the broker for a second at most.
    service.submit(origin.serve("/next.bin", size=1000).url)

    wait_until(lambda: "goes back" in service.logs() or "Restoring" in service.logs())
    wait_until(lambda: service.runtime.broker.backlog() == 1, deadline=3)
    assert worker.poll() is None
    disk.recover()
    assert ended(worker, deadline=5) == 0


# ── while others are away ───────────────────────────────────────────────────────────────────────
