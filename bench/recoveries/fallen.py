"""From the end of a worker to the first byte that another one gets for its jobs.

Several workers fall in one run, each at a moment of its own. That is honest: every one of them has a
lock, a lease and a progress of its own, and what finds them looks every few seconds at all there are.
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

#: A connection gets so many bytes a second: no download ends while it is watched.
PACE, SIZE = 20_000, 1 << 30
#: Workers that fall in one batch; more would only make the machine busy.
AT_ONCE = 4
#: How often it is looked whether something has come about. Seconds.
LOOK = 0.01
#: A lock is so old for this long. Seconds.
MOMENT = 0.2
#: Recoveries that take longer are failures of the benchmark. Seconds.
PATIENCE = 180.0


@dataclass
class Victim:
    """A worker that is going to fall, and what it is at."""

    process: Process
    jobs: list[Job]
    fell_at: float = 0.0


def after_kill(rounds: int, downloads: int) -> list[Figure]:
    """Kill workers at moments that are spread evenly over the renewal period of their locks."""
    ttl = default("SEEN_LOCK_TTL")
    period = ttl / RENEWALS_PER_TTL
    taken: list[float] = []
    with _service() as (system, origin):
        # In its first moments the maintenance worker cannot know whether the store has lost anything.
        ready_at = time.monotonic() + ttl + default("SEEN_REQUEUE_INTERVAL")
        for ages in _batches([(number + 0.5) / rounds * period for number in range(rounds)]):
            victims = _occupy(system, origin, len(ages), downloads)
            survivor = _start_survivor(system, victims)
            wait_until(lambda: time.monotonic() >= ready_at, deadline=ttl + 60)
            _kill_by_age(system, victims, ages, ttl)
            taken += _recoveries(system, origin, victims)
            end_process(survivor)
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
            victims = _occupy(system, origin, 1, downloads)
            survivor = _start_survivor(system, victims)
            _end(victims[0], signal.SIGTERM)
            taken += _recoveries(system, origin, victims)
            end_process(survivor)
    what = f"SIGTERM to the next byte elsewhere ({len(taken)} jobs)"
    return [
        Figure(f"{what}, median", statistics.median(taken), "s"),
        Figure(f"{what}, maximum", max(taken), "s", "3"),
    ]


@contextmanager
def _service() -> Iterator[tuple[System, Origin]]:
    """Run the service, all but its download workers."""
    with (
        tempfile.TemporaryDirectory(prefix="seen-bench-") as name,
        StoreServer() as store,
        Origin() as origin,
        System(Path(name), store, settings=defaults()) as system,
    ):
        system.start_worker("maintenance", concurrency=2)
        system.start_beat()
        yield system, origin


def _occupy(system: System, origin: Origin, workers: int, downloads: int) -> list[Victim]:
    """Start workers, each with as many downloads as it has room for."""
    victims = []
    for _ in range(workers):
        process = system.start_worker(concurrency=downloads)
        jobs = [_submit(system, origin) for _ in range(downloads)]
        victims.append(Victim(process, jobs))
        # Before the next worker is there: these jobs are this one's.
        for job in jobs:
            wait_until(lambda job=job: _has_progress(system, job), deadline=60)  # type: ignore[misc]
    return victims


def _submit(system: System, origin: Origin) -> Job:
    path = f"/{len(origin.requests)}-{time.monotonic_ns()}.bin"
    url = origin.serve(path, size=SIZE, bytes_per_second=PACE).url
    # One connection each: by default there are no more than 16 to one host.
    return system.submit(url, connections=1)


def _has_progress(system: System, job: Job) -> bool:
    progress = system.runtime.cache.download.get_progress(job.id)
    return progress is not None and progress.bytes_downloaded > 0


def _start_survivor(system: System, victims: Sequence[Victim]) -> Process:
    """Start the worker that is to take over everything."""
    return system.start_worker(concurrency=sum(len(victim.jobs) for victim in victims))


def _kill_by_age(
    system: System, victims: Sequence[Victim], ages: Sequence[float], ttl: float
) -> None:
    """Kill each worker when its locks were renewed so many seconds ago."""
    waiting = list(zip(victims, ages, strict=True))

    def killed_all() -> bool:
        for victim, age in list(waiting):
            if 0 <= _lock_age(system, victim.jobs[0], ttl) - age < MOMENT:
                _end(victim, signal.SIGKILL)
                waiting.remove((victim, age))
        return not waiting

    wait_until(killed_all, deadline=PATIENCE, interval=LOOK, what="every worker was killed")


def _lock_age(system: System, job: Job, ttl: float) -> float:
    """Return for how many seconds a lock has been as it is, or -1 when there is none."""
    cache = system.runtime.cache
    left = cache.client.pttl(cache.keys.download_lock_key(job.id))
    return ttl - int(left) / 1000 if int(left) > 0 else -1.0


def _end(victim: Victim, how: signal.Signals) -> None:
    victim.fell_at = time.monotonic()
    victim.process.send_signal(how)


def _recoveries(system: System, origin: Origin, victims: Sequence[Victim]) -> list[float]:
    """Wait until every job goes on elsewhere; return how many seconds each stood still."""
    pending = {job.id: (job, victim) for victim in victims for job in victim.jobs}
    taken: list[float] = []

    def all_go_on() -> bool:
        claims = system.runtime.jobs.get_many(list(pending))
        for job_id, (job, victim) in list(pending.items()):
            # A newer claim first: what arrived before it was the fallen worker's.
            if claims[job_id].fence > 1 and _goes_on(origin, job, victim):
                taken.append(time.monotonic() - victim.fell_at)
                del pending[job_id]
        return not pending

    wait_until(all_go_on, deadline=PATIENCE, interval=LOOK, what="every job goes on elsewhere")
    for job in (job for victim in victims for job in victim.jobs):
        tasks.cancel(job.id, runtime=system.runtime)  # nobody needs it any more
    return taken


def _goes_on(origin: Origin, job: Job, victim: Victim) -> bool:
    path = job.url.removeprefix(origin.url(""))
    return any(
        request.started > victim.fell_at and request.bytes_sent > 0
        for request in origin.requests_for(path)
    )


def _batches(ages: Sequence[float]) -> Iterator[Sequence[float]]:
    for start in range(0, len(ages), AT_ONCE):
        yield ages[start : start + AT_ONCE]
