"""Run a download in this process: here and now, or in a thread while the test does something to it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from domain.job import Job
from tests.support.services.system import System
from worker.runner import Outcome, run_download


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
