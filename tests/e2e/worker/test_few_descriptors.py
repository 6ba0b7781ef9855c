"""A real worker that may have few file descriptors: every job completes, at its first attempt."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from domain.job import Job, JobStatus
from tests.support.origins.origin import Origin
from tests.support.servers.process import Process
from tests.support.services.seen import Seen, command
from tests.support.services.system import System
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until

JOBS, SIZE = 40, 300_000


@pytest.fixture
def system(tmp_path: Path, store: StoreServer) -> Iterator[System]:
    settings = {"SEEN_CONNECTIONS": "4", "SEEN_HOST_CONNECTIONS": "0"}
    with System(tmp_path, store, settings=settings) as system:
        system.start_maintenance()
        yield system


def submit(system: System, origin: Origin, kind: str = "", number: int = JOBS) -> list[Job]:
    files = [origin.serve(f"/{kind}{n}.bin", size=SIZE) for n in range(number)]
    # One attempt each: a single one that is used up by a lack fails the job.
    return [system.submit(file.url, max_attempts=1) for file in files]


def check(system: System, jobs: list[Job]) -> None:
    """All complete at their first attempt; what their histories say of waiting is the lack."""

    def rows() -> list[Job]:
        return [system.job(job) for job in jobs]

    wait_until(lambda: all(row.is_finished for row in rows()), deadline=120, what="all have ended")
    assert {(row.status, row.attempts) for row in rows()} == {(JobStatus.COMPLETED, 1)}
    for job in jobs:
        for event in system.runtime.jobs.events(job.id):
            if event.to_status is JobStatus.WAITING:
                assert "too few resources" in (event.reason or ""), event


def test_worker_started_with_few_descriptors_runs_fewer_jobs(
    system: System, origin: Origin
) -> None:
    jobs = submit(system, origin)
    system.start_worker(
        concurrency=16, program=("-m", "tests.support.processes.limited_descriptors", "64")
    )
    check(system, jobs)
    assert "file descriptors" in system.logs()


def run_limited(person: Seen, limit: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command from a shell whose processes may open so many files."""
    return subprocess.run(
        ["sh", "-c", f'ulimit -n {limit}; exec "$@"', "sh", *command(arguments)],
        cwd=person.folder,
        env=person.environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_get_works_with_the_fewest_descriptors_that_its_store_can_do_with(
    tmp_path: Path, origin: Origin
) -> None:
    files = [origin.serve(f"/{number}.bin", size=SIZE) for number in range(10)]
    with Seen(tmp_path) as person:
        done = run_limited(person, 48, "get", *[file.url for file in files])
        assert done.returncode == 0, done.stderr
        assert len(list(person.folder.glob("*.bin"))) == 10


@pytest.mark.parametrize("arguments", [("get", "http://127.0.0.1:9/a"), ("up",)])
def test_store_without_descriptors_for_its_stack_is_refused_at_once(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    with Seen(tmp_path) as person:
        done = run_limited(person, 40, *arguments)
    assert done.returncode == 1
    assert "may open 40 files" in done.stderr
    assert "ulimit -Hn" in done.stderr


def limit_to_what_is_open(process: Process, more: int) -> None:
    # The guard in front of a worker becomes the worker: it has the same process id.
    open_now = len(list(Path(f"/proc/{process.pid}/fd").iterdir()))
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (open_now + more, open_now + more))


@pytest.mark.parametrize("more", [8])
def test_worker_that_runs_out_of_descriptors_runs_fewer_jobs_for_a_while(
    system: System, origin: Origin, more: int
) -> None:
    """Given one that has run before: its limit has been lowered, or other files have been opened."""
    worker = system.start_worker(concurrency=8)
    check(system, submit(system, origin, "before"))
    limit_to_what_is_open(worker, more)
    check(system, submit(system, origin, number=16))


def test_worker_without_any_descriptor_connects_again_when_it_has_some(
    system: System, store: StoreServer, origin: Origin
) -> None:
    worker = system.start_worker(concurrency=4)
    check(system, submit(system, origin, "before", number=4))
    before = resource.prlimit(worker.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(worker.pid, resource.RLIMIT_NOFILE, (3, before[1]))
    with store.client() as client:
        client.client_kill_filter(_type="normal", skipme=True)
    wait_until(lambda: "Too many open files" in system.logs(), deadline=60, what="it lacks one")
    resource.prlimit(worker.pid, resource.RLIMIT_NOFILE, before)
    check(system, submit(system, origin, "after", number=4))
    assert worker.poll() is None
