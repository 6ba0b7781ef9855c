"""Many small files through two workers that are killed: all arrive, none is fetched twice at once.

Jobs are submitted in groups of 1 to 500, so that a killed worker leaves a group in each of its states.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import tasks
from domain.job import Job, JobStatus
from domain.request import DownloadRequest
from tests.chaos.evidence import all_jobs
from tests.chaos.schedule import WORKERS
from tests.support.origins.origin import Origin, RequestLog
from tests.support.origins.resource import ServedFile
from tests.support.servers.process import Process
from tests.support.services.system import System
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until
from worker.app import sweep_disk

#: Bytes of each file.
SIZE = 4096
#: Jobs of one call of `submit_many`, at most.
LARGEST_GROUP = 500
#: Downloads at once in one worker.
CONCURRENCY = 16
#: Seconds between two looks at the jobs.
LOOK = 0.1
#: Without a job that ends, the run is over. Seconds.
PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class SmallFilesOutcome:
    """What a run came to."""

    seed: int
    files: int
    kills: int
    groups: int
    claims: int
    requests: int
    wall_seconds: float
    violations: tuple[str, ...]


def run_small_files(
    folder: Path, *, files: int, kills: int, seed: int, say: Callable[[str], None]
) -> SmallFilesOutcome:
    """Download `files` small files, kill a worker `kills` times meanwhile, and check everything."""
    began = time.monotonic()
    with StoreServer() as store, Origin() as origin, System(folder, store) as system:
        one = _Run(system, origin, random.Random(f"small files of {seed}"), say)
        groups = one.go(files, kills)
        jobs, requests = all_jobs(system.runtime), origin.requests
        _wait_for_the_end_of_working_files(system, jobs)
        found = tuple(_violations(one.served, jobs, requests, origin, system.downloads))
    for text in found[:20]:
        say(f"VIOLATION {text}")
    return SmallFilesOutcome(
        seed=seed,
        files=files,
        kills=kills,
        groups=groups,
        claims=sum(job.fence for job in jobs.values()),
        requests=len(requests),
        wall_seconds=round(time.monotonic() - began, 1),
        violations=found,
    )


def _wait_for_the_end_of_working_files(system: System, jobs: Mapping[str, Job]) -> None:
    """Sweep until no working file is left, or for too long.

    A worker removes those of a job after it has written the job's end; a sweep, ten seconds later, those
    that a killed worker has left.
    """
    expected = _paths(jobs)

    def are_gone() -> bool:
        sweep_disk(system.runtime)
        return set(system.downloads.iterdir()) <= expected

    with suppress(AssertionError):  # what is left is a violation
        wait_until(are_gone, deadline=PATIENCE, interval=LOOK)


def _paths(jobs: Mapping[str, Job]) -> set[Path]:
    return {Path(job.path) for job in jobs.values() if job.path}


class _Run:
    """The workers of one run, and the files that they are to fetch."""

    def __init__(
        self, system: System, origin: Origin, chance: random.Random, say: Callable[[str], None]
    ) -> None:
        self._system, self._origin, self._chance, self._say = system, origin, chance, say
        self.served: dict[str, ServedFile] = {}
        """By URL."""
        system.start_maintenance()
        self._workers = [system.start_worker(concurrency=CONCURRENCY) for _ in range(WORKERS)]

    def go(self, files: int, kills: int) -> int:
        """Submit and kill until every job has ended, or none does any more; return the groups."""
        groups = 0
        moments = sorted(self._chance.sample(range(1, files), kills), reverse=True)
        done, changed_at = 0, time.monotonic()
        while done < files and time.monotonic() - changed_at < PATIENCE:
            if len(self.served) < files:
                self._submit(min(self._chance.randint(1, LARGEST_GROUP), files - len(self.served)))
                groups += 1
            else:
                time.sleep(LOOK)
            before, done = done, self._ended()
            changed_at = time.monotonic() if done != before else changed_at
            while moments and done >= moments[-1]:
                moments.pop()
                self._kill_one(done)
        return groups

    def _submit(self, number: int) -> None:
        requests = []
        for _ in range(number):
            file = self._origin.serve(f"/{len(self.served)}", size=SIZE)
            self.served[file.url] = file
            requests.append(DownloadRequest(url=file.url))
        tasks.submit_many(requests, runtime=self._system.runtime)

    def _ended(self) -> int:
        counts = self._system.runtime.jobs.count_by_status()
        return sum(number for status, number in counts.items() if status is JobStatus.COMPLETED)

    def _kill_one(self, done: int) -> None:
        """Kill a worker with its children, and start another one in its place."""
        index = self._chance.randrange(len(self._workers))
        victim: Process = self._workers[index]
        self._say(f"{done:,} files have arrived; worker {index} is killed")
        os.killpg(victim.pid, signal.SIGKILL)
        victim.wait()
        self._workers[index] = self._system.start_worker(concurrency=CONCURRENCY, wait=False)


def _violations(
    served: Mapping[str, ServedFile],
    jobs: Mapping[str, Job],
    requests: Sequence[RequestLog],
    origin: Origin,
    folder: Path,
) -> Iterator[str]:
    """Yield what is not as it should be."""
    whole = Counter(one.path for one in requests if one.status == 200 and one.bytes_sent == SIZE)
    if len(jobs) != len(served):
        yield f"{len(served):,} downloads were accepted, {len(jobs):,} are in the database"
    for job in jobs.values():
        file = served[job.url]
        if job.status is not JobStatus.COMPLETED:
            yield f"job {job.id} is {job.status} ({job.reason})"
        elif _digest(Path(job.path or "")) != file.sha256:
            yield f"job {job.id}: {job.path} is not the origin's file"
        if whole[file.path] > job.fence:
            yield f"job {job.id}: {whole[file.path]} whole answers for {job.fence} claims"
        if origin.max_concurrent(file.path) > 1:
            yield f"job {job.id}: its file was fetched twice at once"
    for path in set(folder.iterdir()) - _paths(jobs):
        yield f"{path.name} belongs to no job"


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
