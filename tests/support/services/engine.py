"""Runs jobs on an engine of the test until no attempt is left to run."""

from __future__ import annotations

import dataclasses
from typing import Any

from domain.job import Job, JobStatus
from tests.support.services.running import run_download
from tests.support.services.system import System
from tests.support.wait import wait_until
from worker.runtime import Runtime

#: Pieces small enough, and shared out soon enough, for files of a test's size.
SHARING: dict[str, Any] = {"connections": 4, "min_segment_size": 32 * 1024, "split_after": 0.05}
#: One connection, whatever the origin offers.
ALONE: dict[str, Any] = {"connections": 1}


def with_options(runtime: Runtime, **options: Any) -> Runtime:
    """Return a runtime whose transfers behave otherwise in the named points of `TransferOptions`."""
    return dataclasses.replace(
        runtime,
        engine=dataclasses.replace(
            runtime.engine, options=dataclasses.replace(runtime.engine.options, **options)
        ),
    )


def run_to_the_end(system: System, job: Job, *, attempts: int = 5, **options: Any) -> Job:
    """Run a job as often as it waits for another attempt, and return what became of it.

    Its counters are looked at after each attempt: they never pass the total.
    """
    runtime = with_options(system.runtime, **options)
    for _ in range(attempts):
        run_download(runtime, job.id)
        row = system.job(job)
        assert (
            row.bytes_total is None or row.bytes_durable <= row.bytes_downloaded <= row.bytes_total
        )
        if row.status is not JobStatus.WAITING:
            break
        if row.attempts < attempts:
            wait_until(lambda: runtime.jobs.requeue_due(runtime.now()), what="the job is due")
    return row
