"""Part files that nobody needs any more, and jobs whose part file is gone.

Only who has the disk can look, so each download worker does so now and then (one a machine at a time).
What it removes are working names alone, never a published file.
"""

from __future__ import annotations

import logging
import os
import random
import re
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from domain.errors import DatabaseUnavailableError, SeenError, StoreError
from domain.files import WORKING_PREFIX
from domain.job import FINISHED, Job
from worker.cleanup.job_files import is_part_file_obsolete, remove_job_files
from worker.exclusive import run_exclusive
from worker.periodic_thread import PeriodicThread
from worker.runtime import Runtime
from worker.storage.folder_check import is_probe_file
from worker.storage.part_file import WORKING_SUFFIXES

logger = logging.getLogger(__name__)

#: What a worker does when a job ends takes it a moment. Seconds.
FINISH_GRACE = 10.0
#: A part file whose job nobody knows may be of another database's service; one that was not touched
#: for so long is not in use. Seconds.
UNKNOWN_GRACE = 24 * 3600.0
#: A trial file (`folder_abilities`) is removed by the process that made it within moments. Seconds.
PROBE_FILE_GRACE = 60.0
#: Jobs that are looked up at a time.
BATCH = 500

_OUTAGE = "The disk was not swept"

_WORKING_NAME = re.compile(
    rf"{re.escape(WORKING_PREFIX)}([0-9a-f-]{{36}})(?:{'|'.join(map(re.escape, WORKING_SUFFIXES))})"
)


class SweepResult(NamedTuple):
    """What a sweep found, in jobs."""

    ended: int
    """Part files of jobs that have ended: removed."""
    unknown: int
    """Old part files of jobs that the database does not know: removed."""
    lost: int
    """Jobs that counted on bytes of a part file that is gone: they count on nothing now."""


class WorkingFiles(NamedTuple):
    """Working names of one job in one folder."""

    directory: Path
    job_id: str


def sweep(runtime: Runtime) -> SweepResult:
    """Look at the disk once, unless another worker of this machine does so."""
    lock = runtime.cache.lock(f"task:sweep:{socket.gethostname()}")
    result = run_exclusive(runtime.leases, lock, runtime.drain, lambda: _sweep(runtime))
    return result or SweepResult(0, 0, 0)


def _sweep(runtime: Runtime) -> SweepResult:
    ended, unknown = _remove_obsolete_files(runtime)
    report = SweepResult(ended, unknown, _reset_lost_progress(runtime))
    if any(report):
        logger.info("SweepResult: %s", report)
    return report


# ── part files without a job ────────────────────────────────────────────────────────────────────


def _remove_obsolete_files(runtime: Runtime) -> tuple[int, int]:
    ended = unknown = 0
    for found in _batches(_find_working_files(runtime)):
        jobs = runtime.jobs.get_many([one.job_id for one in found])
        for one in found:
            job = jobs.get(one.job_id)
            if job is None:
                unknown += _is_old(one) and _remove(runtime, one)
            elif _has_finished_some_time_ago(runtime, job):
                ended += _remove(runtime, one)
    return ended, unknown


def _find_working_files(runtime: Runtime) -> Iterator[WorkingFiles]:
    """Yield the working names under the download folder, each job of a folder once."""
    if runtime.settings.allow_any_directory:
        yield from _find_working_files_elsewhere(runtime)
    for directory, folders, names in os.walk(runtime.files_dir):
        if runtime.drain.has_started:
            return
        folders.sort()
        ids = {match[1] for name in names if (match := _WORKING_NAME.fullmatch(name))}
        for job_id in sorted(ids):
            yield WorkingFiles(Path(directory), job_id)


def _find_working_files_elsewhere(runtime: Runtime) -> Iterator[WorkingFiles]:
    """Yield those in folders that are not ours to walk through; on one's own machine jobs are few."""
    before: str | None = None
    while jobs := runtime.jobs.find(statuses=sorted(FINISHED), before_id=before, limit=BATCH):
        before = jobs[-1].id
        for job in jobs:
            directory = Path(job.directory)
            if directory.is_absolute() and not directory.is_relative_to(runtime.files_dir):
                with suppress(SeenError):
                    if runtime.destinations.exists(directory, job.id):
                        yield WorkingFiles(directory, job.id)


def _has_finished_some_time_ago(runtime: Runtime, job: Job) -> bool:
    """Say whether a job is over, and its worker must have done what it does then."""
    settled = runtime.now() - timedelta(seconds=FINISH_GRACE)
    return is_part_file_obsolete(job) and job.finished_at is not None and job.finished_at <= settled


def _is_old(found: WorkingFiles) -> bool:
    grace = PROBE_FILE_GRACE if is_probe_file(found.job_id) else UNKNOWN_GRACE
    paths = found.directory.glob(f"{WORKING_PREFIX}{found.job_id}.*")
    try:
        newest = max((path.lstat().st_mtime for path in paths), default=0.0)
    except FileNotFoundError:
        return False  # somebody is at work here
    return newest < time.time() - grace


def _remove(runtime: Runtime, found: WorkingFiles) -> bool:
    """Remove the working names, unless the job was begun again, and note it in its history."""
    removed = remove_job_files(runtime.jobs, runtime.destinations, found.directory, found.job_id)
    if removed:
        note = "its part file had been left behind and was removed"
        runtime.jobs.note_many([found.job_id], note, now=runtime.now())
    return removed


def _batches(found: Iterator[WorkingFiles]) -> Iterator[Sequence[WorkingFiles]]:
    batch: list[WorkingFiles] = []
    for one in found:
        batch.append(one)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


# ── jobs without their part file ────────────────────────────────────────────────────────────────


def _reset_lost_progress(runtime: Runtime) -> int:
    """Take back the counts of jobs that wait or rest here, and whose bytes are gone."""
    lost = 0
    after = ""
    while not runtime.drain.has_started and (
        jobs := runtime.jobs.inactive_with_progress(after, limit=BATCH)
    ):
        after = jobs[-1].id
        missing = [job for job in jobs if _is_missing(runtime, job)]
        here = runtime.jobs.last_workers([job.id for job in missing])
        gone = [job for job in missing if _host(here.get(job.id, "")) == socket.gethostname()]
        lost += runtime.jobs.reset_progress(gone, now=runtime.now())
    return lost


def _is_missing(runtime: Runtime, job: Job) -> bool:
    try:
        return not runtime.destinations.exists(runtime.resolve(job.directory), job.id)
    except SeenError:
        return False  # a folder that cannot be looked into says nothing


def _host(worker: str) -> str:
    return worker.rpartition(":")[0]


# ── now and then ────────────────────────────────────────────────────────────────────────────────


class Sweeper:
    """Sweeps every `interval` seconds, from a thread of its own, until it is closed."""

    def __init__(self, runtime: Runtime, interval: float) -> None:
        self._runtime = runtime
        # Not at the same moment everywhere.
        first = interval * random.uniform(0.1, 1)  # noqa: S311 - no secret hangs on it
        self._thread = PeriodicThread("sweeper", self._sweep, interval, first=first)

    def start(self) -> None:
        """Begin; the first sweep comes within an interval."""
        self._thread.start()

    def close(self) -> None:
        """Stop; a sweep that runs is waited for."""
        self._thread.close()

    def _sweep(self) -> None:
        try:
            sweep(self._runtime)
        except (StoreError, DatabaseUnavailableError) as error:
            self._runtime.outages.record_failure(_OUTAGE, error)
        else:
            self._runtime.outages.record_success(_OUTAGE)
