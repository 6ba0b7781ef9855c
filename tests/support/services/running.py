"""Run a download in this process: here and now, or in a thread while the test does something to it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from domain.job import Job, JobFilter, JobStatus, Priority
from tests.support.services.system import System
from worker.job_pool import JobMessage, JobPool
from worker.outcome import Outcome
from worker.runtime import Runtime

#: More than any test runs at once.
SLOTS = 100


def run_download(
    runtime: Runtime,
    job_id: str,
    priority: Priority | None = None,
    sent_at: datetime | None = None,
) -> Outcome:
    """Run a job as a worker does that has consumed its message, and wait for its end."""
    (end,) = JobPool(runtime, SLOTS).run(JobMessage((job_id,), priority, sent_at))
    return end.outcome


def run(system: System, job: Job) -> Outcome:
    """Run a job as a worker does that has consumed its message."""
    return run_download(system.runtime, job.id)


def downloaded(system: System, job: Job) -> int:
    """Return how many bytes the store shows as downloaded; 0 before the first flush."""
    progress = system.runtime.cache.download.get_progress(job.id)
    return 0 if progress is None else progress.bytes_downloaded


@contextmanager
def running(system: System, job: Job) -> Iterator[list[Outcome]]:
    """Run a job in a thread; the list has the outcome once the block is left.

    A block that fails lets the system drain, so that its download does not wait for what never comes.
    """
    outcomes: list[Outcome] = []
    thread = threading.Thread(
        target=lambda: outcomes.append(run_download(system.runtime, job.id)), daemon=True
    )
    thread.start()
    try:
        yield outcomes
    except BaseException:
        system.runtime.drain.start()
        raise
    finally:
        thread.join(30)
    assert not thread.is_alive()


@contextmanager
def queued_jobs_run(system: System) -> Iterator[None]:
    """Run queued jobs meanwhile, one after the other, as a worker would."""
    stop = threading.Event()

    def run_queued() -> None:
        while not stop.wait(0.05):
            for job in system.runtime.jobs.find(JobFilter(JobStatus.QUEUED), limit=1):
                run_download(system.runtime, job.id)

    thread = threading.Thread(target=run_queued, name="worker")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
