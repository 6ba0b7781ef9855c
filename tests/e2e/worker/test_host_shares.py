"""One host uses up a worker's concurrency, or its slots: which jobs run before others."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from domain.job import JobStatus, SubmittedJob
from tests.support.origins.origin import Origin
from tests.support.services.system import System
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until
from worker.limits.concurrency_shares import CHECK_INTERVAL

S = JobStatus


def test_job_of_another_host_passes_the_queued_ones(
    tmp_path: Path, store: StoreServer, origin: Origin
) -> None:
    # Downloads whose gates are shut hold their places: none may end because it stands still.
    with System(tmp_path, store, settings={"SEEN_LOW_SPEED_TIME": "120"}) as system:
        gates = [threading.Event() for _ in range(8)]
        files = [
            origin.serve(f"/{n}.bin", size=50_000, gate=gate, gate_after=1000)
            for n, gate in enumerate(gates)
        ]
        slow = [system.submit(file.url) for file in files]
        system.start_worker(concurrency=4)

        def has_all_places() -> bool:
            # A job acquires its slot before it connects.
            return len(origin.requests) == 4

        wait_until(has_all_places, what="the host has all places")
        # For so long a worker goes by what it knows: that no job of another host is queued.
        asks_again = time.monotonic() + CHECK_INTERVAL
        wait_until(lambda: time.monotonic() > asks_again, what="it asks again who is queued")
        other = system.submit(
            origin.serve("/b.bin", size=1000).url.replace("127.0.0.1", "localhost")
        )
        for gate, job in zip(gates, slow, strict=True):
            if system.job(job).status is S.DOWNLOADING:
                gate.set()
                break

        system.wait_for(other, S.COMPLETED)

        histories = [system.runtime.jobs.events(job.id) for job in slow]
        reasons = [event.reason or "" for history in histories for event in history]
        assert any("use their share of this worker" in reason for reason in reasons), reasons
        for gate in gates:
            gate.set()


def test_jobs_that_wait_for_a_slot_start_before_later_ones_of_another_worker(
    tmp_path: Path, store: StoreServer, origin: Origin
) -> None:
    """Given two workers, a host with one slot, and jobs that wait for it in SQL."""
    with System(tmp_path, store, settings={"SEEN_HOST_DOWNLOADS": "1"}) as system:
        gate = threading.Event()
        first = system.submit(origin.serve("/first", size=1000, gate=gate).url)
        for _ in range(2):
            system.start_worker(concurrency=4)
        wait_until(lambda: system.job(first).status is S.DOWNLOADING, what="the slot is taken")
        early = _submit(system, origin, [f"/early-{n}" for n in range(6)])
        wait_until(lambda: all(system.job(one).status is S.WAITING for one in early))
        gate.set()
        late = _submit(system, origin, [f"/late-{n:02}" for n in range(30)])
        for job in (first, *early, *late):
            system.wait_for(job, S.COMPLETED)
        order = [request.path for request in origin.requests]
        assert len(order) == 37, "each is fetched once"
        # A slot is kept for a second for a job that waits in SQL. A machine that stands still for
        # longer lets others pass, but not most of them.
        last = max(order.index(f"/early-{n}") for n in range(6))
        assert last < 26, order


def _submit(system: System, origin: Origin, paths: list[str]) -> list[SubmittedJob]:
    files = [origin.serve(path, size=10_000, bytes_per_second=100_000) for path in paths]
    return [system.submit(file.url) for file in files]
