"""Reporters whose flushes a test calls itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cache import CacheManager, DownloadProgress
from domain.job import Job, JobStatus
from tests.support.build import new_job
from worker.leases.drain import Drain
from worker.leases.stop_signal import StopSignal
from worker.progress.reporter import AttemptResult, DownloadTracker, ProgressReporter

#: Longer than any test: only what a test flushes itself is reported.
NEVER = 3600.0


@contextmanager
def reporting(
    manager: CacheManager, *, flush: float = NEVER, heartbeat: float = NEVER
) -> Iterator[ProgressReporter]:
    """A reporter that flushes only when a test calls it, unless an interval is given (seconds)."""
    with ProgressReporter(
        manager.download, flush_interval=flush, heartbeat_interval=heartbeat
    ) as reporter:
        yield reporter


def claimed(**values: Any) -> Job:
    """A job as its first claim returns it."""
    return new_job(**{"status": JobStatus.DOWNLOADING, "fence": 1, **values})


def tracked(reporter: ProgressReporter, job: Job) -> DownloadTracker:
    """Start to report a job that receives no control request."""
    return reporter.track(job, StopSignal(Drain()))


def finished(
    manager: CacheManager,
    reporter: ProgressReporter,
    tracker: DownloadTracker,
    result: AttemptResult,
    *,
    persisted: bool,
) -> int | None:
    """Run `ProgressReporter.finish_flow` by itself."""
    return manager.store.run(reporter.finish_flow(tracker, result, persisted=persisted))


def shown(manager: CacheManager, job: Job) -> DownloadProgress:
    """The progress of a job in the store."""
    found = manager.download.get_progress(job.id)
    assert found is not None
    return found
