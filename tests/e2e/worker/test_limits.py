"""Which jobs run, and how many, where a host or all downloads have limits."""

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
#: Downloads whose gates are shut hold their places: none may end because it stands still.
PATIENT = {"SEEN_LOW_SPEED_TIME": "120"}


def test_job_of_another_host_passes_the_queued_ones(
    tmp_path: Path, store: StoreServer, origin: Origin
) -> None:
    with System(tmp_path, store, settings=PATIENT) as system:
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
            # Each of the 36 may wait for a second while its slot is kept for one that waits in SQL.
            system.wait_for(job, S.COMPLETED, deadline=90)
        order = [request.path for request in origin.requests]
        assert len(order) == 37, "each is fetched once"
        # A slot is kept for a second for a job that waits in SQL. A machine that stands still for
        # longer lets others pass, but not most of them.
        last = max(order.index(f"/early-{n}") for n in range(6))
        assert last < 26, order


def _submit(system: System, origin: Origin, paths: list[str]) -> list[SubmittedJob]:
    files = [origin.serve(path, size=10_000, bytes_per_second=100_000) for path in paths]
    return [system.submit(file.url) for file in files]


class Downloads:
    """Jobs whose origin sends the body when it is allowed to."""

    def __init__(self, system: System, origin: Origin) -> None:
        self._system, self._origin = system, origin
        self._gates: dict[str, threading.Event] = {}
        self.jobs: dict[str, SubmittedJob] = {}

    def submit(self, *names: str) -> None:
        """Accept a job for each name."""
        for name in names:
            gate = self._gates[name] = threading.Event()
            file = self._origin.serve(f"/{name}", size=10, gate=gate)
            self.jobs[name] = self._system.submit(file.url)

    def running(self) -> set[str]:
        """Return the names of those that the origin was asked for and has not sent."""
        asked = {request.path[1:] for request in self._origin.requests}
        return {name for name in asked if not self._gates[name].is_set()}

    def finish(self, *names: str) -> None:
        """Let the origin send bodies, and wait for the end of the jobs."""
        for name in names:
            self._gates[name].set()
        for name in names:
            self._system.wait_for(self.jobs[name], S.COMPLETED, deadline=60)


def test_the_limit_holds_for_all_workers_and_changes_while_they_run(
    tmp_path: Path, store: StoreServer, origin: Origin
) -> None:
    settings = {**PATIENT, "SEEN_CONCURRENCY_SHARE": "100"}
    with System(tmp_path, store, settings=settings) as system:
        limits, downloads = system.runtime.cache.limits, Downloads(system, origin)
        for _ in range(2):
            system.start_worker(concurrency=4)
        early = [f"early-{n}" for n in range(6)]
        downloads.submit(*early)
        wait_until(lambda: downloads.running() == set(early), what="all run without a limit")
        limits.set_most_downloads(2)
        wait_until(lambda: len(limits.slots("total:downloads")) == 6, what="all are counted")
        late = [f"late-{n}" for n in range(6)]
        downloads.submit(*late)
        for name in early[:4]:
            downloads.finish(name)
            assert downloads.running() <= set(early), "fewer have to run first"
        for name in early[4:]:
            downloads.finish(name)
            wait_until(lambda: len(downloads.running()) == 2, what="another one starts")
        limits.set_most_downloads(4)
        wait_until(lambda: len(downloads.running()) == 4, what="two more start")
        limits.set_most_downloads(None)
        wait_until(lambda: downloads.running() == set(late), what="all run")
        downloads.finish(*late)
        assert len(origin.requests) == 12, "each is fetched once"
