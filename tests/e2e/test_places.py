"""A real worker whose places one host holds: a job of another host passes those queued before it."""

from __future__ import annotations

import threading
from pathlib import Path

from domain.job import JobStatus
from tests.support.origin import Origin
from tests.support.store import StoreServer
from tests.support.system import System
from tests.support.wait import wait_until

S = JobStatus


def test_job_of_another_host_passes_the_queued_ones(
    tmp_path: Path, store: StoreServer, origin: Origin
) -> None:
    with System(tmp_path, store) as system:
        gates = [threading.Event() for _ in range(8)]
        files = [
            origin.serve(f"/{n}.bin", size=50_000, gate=gate, gate_after=1000)
            for n, gate in enumerate(gates)
        ]
        slow = [system.submit(file.url) for file in files]
        system.start_worker(concurrency=4)

        def running() -> int:
            return sum(system.job(job).status is S.DOWNLOADING for job in slow)

        # Nobody else is queued: the host has all places.
        wait_until(lambda: running() == 4, what="the host has all places")
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
        assert any("hold their share of this worker" in reason for reason in reasons), reasons
        for gate in gates:
            gate.set()
