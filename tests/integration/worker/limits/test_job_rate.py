"""A rate that comes with a job limits its transfer."""

from __future__ import annotations

import time

from tests.support.origins.origin import Origin
from tests.support.services.running import run
from tests.support.services.system import System
from worker.outcome import Outcome


def test_a_job_is_no_faster_than_its_own_rate(system: System, origin: Origin) -> None:
    file = origin.serve("/a.bin", size=300_000)
    job = system.submit(file.url, max_rate=200_000, connections=4)
    started = time.monotonic()
    assert run(system, job) is Outcome.COMPLETED
    took = time.monotonic() - started
    assert system.job(job).max_rate == 200_000
    assert took > 1.2
