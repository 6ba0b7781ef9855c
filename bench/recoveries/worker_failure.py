"""The time from the end of a worker to the first byte that another one receives for its jobs.

Several workers end in one run, each at its own moment. They do not affect each other's figures: each has
its own lock, lease and progress, and reconcile looks at all of them every few seconds.
"""

from __future__ import annotations

import signal
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import tasks
from bench.recoveries.defaults import default, defaults
from bench.report import Figure
from domain.job import Job
from tests.support.origins.origin import Origin
from tests.support.servers.process import Process, end_process
from tests.support.services.system import System
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until
from worker.leases.lease import RENEWALS_PER_TTL

#: So slow and so large that no download completes during the benchmark.
BYTES_PER_SECOND, SIZE = 20_000, 1 << 30
#: Workers that end in one batch; more would overload the machine.
BATCH_SIZE = 4
#: Seconds between two looks at what is waited for.
POLL_INTERVAL = 0.01
#: A worker is killed when its lock's age is at most this much over the planned one. Seconds.
LOCK_AGE_TOLERANCE = 0.2
#: Recoveries that take longer are failures of the benchmark. Seconds.
TIMEOUT = 180.0


@dataclass
class FailingWorker:
    """A worker to end, and its running jobs."""

    process: Process
    jobs: list[Job]
    failed_at: float = 0.0


def after_kill(rounds: int, downloads: int) -> list[Figure]:
    """Kill workers at moments spread evenly over the renewal period of their locks."""
    ttl = default("SEEN_LOCK_TTL")
    period = ttl / RENEWALS_PER_TTL
    taken: list[float] = []
    with _service() as (system, origin):
        # Only after a lock's TTL can the maintenance worker know that the store has lost no data.
        ready_at = time.monotonic() + ttl + default("SEEN_REQUEUE_INTERVAL")
        for ages in _batches([(number + 0.5) / rounds * period for number in range(rounds)]):
            failing = _start_busy_workers(system, origin, len(ages), downloads)
            replacement = _start_replacement(system, failing)
            wait_until(lambda: time.monotonic() >= ready_at, deadline=ttl + 60)
            _kill_by_age(system, failing, ages, ttl)
            taken += _recoveries(system, origin, failing)
            end_process(replacement)
    what = f"kill -9 to the next byte elsewhere ({len(taken)} jobs)"
    return [
        Figure(f"{what}, median", statistics.median(taken), "s", "25"),
        Figure(f"{what}, maximum", max(taken), "s", f"{ttl + 5:g}"),
    ]


def after_term(rounds: int, downloads: int) -> list[Figure]:
    """Stop workers as a deployment does."""
    taken: list[float] = []
    with _service() as (system, origin):
        for _ in range(rounds):
            failing = _start_busy_workers(system, origin, 1, downloads)
            replacement = _start_replacement(system, failing)
            _signal(failing[0], signal.SIGTERM)
            taken += _recoveries(system, origin, failing)
            end_process(replacement)
    what = f"SIGTERM to the next byte elsewhere ({len(taken)} jobs)"
    return [
        Figure(f"{what}, median", statistics.median(taken), "s"),
        Figure(f"{what}, maximum", max(taken), "s", "3"),
    ]


@contextmanager
def _service() -> Iterator[tuple[System, Origin]]:
    """Run the service without download workers."""
    with (
        tempfile.TemporaryDirectory(prefix="seen-bench-") as name,
        StoreServer() as store,
        Origin() as origin,
        System(Path(name), store, settings=defaults()) as system,
    ):
        system.start_worker("maintenance", concurrency=2)
        system.start_beat()
        yield system, origin


def _start_busy_workers(
    system: System, origin: Origin, workers: int, downloads: int
) -> list[FailingWorker]:
    """Start workers, each with as many downloads as its concurrency."""
    failing = []
    for _ in range(workers):
        process = system.start_worker(concurrency=downloads)
        jobs = [_submit(system, origin) for _ in range(downloads)]
        failing.append(FailingWorker(process, jobs))
        # Before the next worker starts, so that this one has these jobs.
        for job in jobs:
            wait_until(lambda job=job: _has_progress(system, job), deadline=60)  # type: ignore[misc]
    return failing


def _submit(system: System, origin: Origin) -> Job:
    path = f"/{len(origin.requests)}-{time.monotonic_ns()}.bin"
    url = origin.serve(path, size=SIZE, bytes_per_second=BYTES_PER_SECOND).url
    # One connection each: by default there are at most 16 to one host.
    return system.submit(url, connections=1)


def _has_progress(system: System, job: Job) -> bool:
    progress = system.runtime.cache.download.get_progress(job.id)
    return progress is not None and progress.bytes_downloaded > 0


def _start_replacement(system: System, failing: Sequence[FailingWorker]) -> Process:
    """Start the worker that takes over all jobs."""
    return system.start_worker(concurrency=sum(len(worker.jobs) for worker in failing))


def _kill_by_age(
    system: System, failing: Sequence[FailingWorker], ages: Sequence[float], ttl: float
) -> None:
    """Kill each worker when its locks have reached the given age."""
    waiting = list(zip(failing, ages, strict=True))

    def killed_all() -> bool:
        for worker, age in list(waiting):
            if 0 <= _lock_age(system, worker.jobs[0], ttl) - age < LOCK_AGE_TOLERANCE:
                _signal(worker, signal.SIGKILL)
                waiting.remove((worker, age))
        return not waiting

    wait_until(killed_all, deadline=TIMEOUT, interval=POLL_INTERVAL, what="every worker was killed")


def _lock_age(system: System, job: Job, ttl: float) -> float:
    """Return the seconds since a lock was renewed, or -1 if there is none."""
    cache = system.runtime.cache
    left = cache.client.pttl(cache.keys.download_lock_key(job.id))
    return ttl - int(left) / 1000 if int(left) > 0 else -1.0


def _signal(worker: FailingWorker, how: signal.Signals) -> None:
    worker.failed_at = time.monotonic()
    worker.process.send_signal(how)


def _recoveries(system: System, origin: Origin, failing: Sequence[FailingWorker]) -> list[float]:
    """Wait until another worker has resumed each job; return the seconds that each stood still."""
    pending = {job.id: (job, worker) for worker in failing for job in worker.jobs}
    taken: list[float] = []

    def all_resumed() -> bool:
        claims = system.runtime.jobs.get_many(list(pending))
        for job_id, (job, worker) in list(pending.items()):
            # Only bytes after the newer claim are the other worker's.
            if claims[job_id].fence > 1 and _has_resumed(origin, job, worker):
                taken.append(time.monotonic() - worker.failed_at)
                del pending[job_id]
        return not pending

    wait_until(
        all_resumed, deadline=TIMEOUT, interval=POLL_INTERVAL, what="every job goes on elsewhere"
    )
    for job in (job for worker in failing for job in worker.jobs):
        tasks.cancel(job.id, runtime=system.runtime)
    return taken


def _has_resumed(origin: Origin, job: Job, worker: FailingWorker) -> bool:
    path = job.url.removeprefix(origin.url(""))
    return any(
        request.started > worker.failed_at and request.bytes_sent > 0
        for request in origin.requests_for(path)
    )


def _batches(ages: Sequence[float]) -> Iterator[Sequence[float]]:
    for start in range(0, len(ages), BATCH_SIZE):
        yield ages[start : start + BATCH_SIZE]
