"""Metrics of several worker processes: their sums are right, and never decrease."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from domain.job import JobStatus
from tests.support.origins.origin import Origin
from tests.support.servers.process import Process
from tests.support.services.draining import ended
from tests.support.services.system import System
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until
from worker.metrics.metric import Kind
from worker.metrics.reading import read_totals

SIZE = 20_000
#: A busy machine is no outage, and no file is fetched twice.
PATIENT = {
    "SEEN_CACHE_TIMEOUT": "30",
    "SEEN_CONNECT_TIMEOUT": "60",
    "SEEN_LOW_SPEED_TIME": "60",
    "SEEN_LOCK_TTL": "30",
    "SEEN_ORPHAN_AFTER": "60",
    "SEEN_PROGRESS_TTL": "60",
}


def values(system: System) -> dict[str, float]:
    """Return what all processes have published, as the API shows it."""
    found: dict[str, float] = {}
    for metric, totals in read_totals(system.runtime.cache.metrics.read()):
        for total in totals:
            name = " ".join([metric.name, *(one or "-" for one in total.labels)])
            found[name] = total.value
            for bound, count in total.buckets:
                found[f"{name} {bound}"] = count
    return found


@contextmanager
def never_decreasing(system: System) -> Iterator[list[str]]:
    """Read the counts all the time, as Prometheus does; the list has what has decreased."""
    decreased: list[str] = []
    stop = threading.Event()

    def watch() -> None:
        before = counts(system)
        while not stop.wait(0.02):
            now = counts(system)
            decreased.extend(name for name, value in before.items() if now.get(name, 0) < value)
            before = now

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield decreased
    finally:
        stop.set()
        thread.join()


def counts(system: System) -> dict[str, float]:
    names = {
        metric.name
        for metric, _ in read_totals(system.runtime.cache.metrics.read())
        if metric.kind is not Kind.SUM
    }
    return {name: value for name, value in values(system).items() if name.split(" ")[0] in names}


def shows(system: System, **expected: float) -> None:
    """Wait until the sums are these."""
    names = {
        "completed": "seen_job_runs completed",
        "bytes": "seen_received_bytes",
        "files": "seen_transfer_size_bytes +Inf",
        "slots": "seen_slots",
        "processes": "seen_processes worker",
    }

    def found() -> bool:
        now = values(system)
        last.clear()
        last.update({key: now[names[key]] for key in expected})
        return last == expected

    last: dict[str, float] = {}
    wait_until(found, deadline=60, what=f"the sums are {expected}")


def download(system: System, origin: Origin, jobs: int) -> None:
    files = [origin.serve(f"/{len(origin.requests)}-{n}", size=SIZE) for n in range(jobs)]
    submitted = [system.submit(file.url) for file in files]
    for job in submitted:
        system.wait_for(job, JobStatus.COMPLETED, deadline=60)


def stop(worker: Process, how: signal.Signals) -> None:
    worker.send_signal(how)
    assert ended(worker, deadline=30) is not None


def test_sums_of_workers_of_which_one_is_killed_and_one_stopped(
    tmp_path: Path, private_store: StoreServer, origin: Origin
) -> None:
    with System(tmp_path, private_store, settings=PATIENT) as system:
        with never_decreasing(system) as decreased:
            one, other = (system.start_worker(concurrency=3) for _ in range(2))
            download(system, origin, 12)
            # Only then: what a process has counted since its last report dies with it.
            shows(system, completed=12, bytes=12 * SIZE, files=12, slots=6, processes=2)

            stop(one, signal.SIGKILL)
            third = system.start_worker(concurrency=5)
            download(system, origin, 7)
            for worker in (other, third):
                stop(worker, signal.SIGTERM)  # at once: they publish the last counts
            shows(system, completed=19, bytes=19 * SIZE, files=19)
        assert decreased == []
