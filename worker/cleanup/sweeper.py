"""Removes part files that no job needs, and resets the progress of jobs whose part file is gone.

Each download worker sweeps the disk of its machine periodically, one worker at a time. Only working
files are removed, never a published file.
"""

from __future__ import annotations

import logging
import os
import random
import re
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from database import JobRepository
from domain.errors import DatabaseUnavailableError, SeenError, StoreError
from domain.files import WORKING_PREFIX
from domain.job import FINISHED, Job
from worker.cleanup.job_files import is_part_file_obsolete, remove_job_files
from worker.leases.drain import Drain
from worker.outages import OutageLog
from worker.periodic_thread import PeriodicThread
from worker.storage.destination import Destinations
from worker.storage.filenames import resolve_directory
from worker.storage.folder_check import is_probe_file
from worker.storage.part_file import WORKING_SUFFIXES

logger = logging.getLogger(__name__)

#: A job's own worker removes its files within so many seconds.
FINISH_GRACE = 10.0
#: A part file of an unknown job may belong to a service with another database. One that was not written
#: for so many seconds is not in use.
UNKNOWN_GRACE = 24 * 3600.0
#: A probe file (`folder_check`) exists for moments only; so many seconds later its process has died.
PROBE_FILE_GRACE = 60.0
#: A job's end may be written so much later than its time, and clocks differ.
OVERLAP = timedelta(days=1)
#: How often all finished jobs with folders elsewhere are looked up.
LOOK_UP_ALL_EVERY = timedelta(days=1)
_NEVER = datetime(2, 1, 1, tzinfo=UTC)
#: Jobs in one query.
BATCH = 500

_OUTAGE = "The disk was not swept"

_WORKING_NAME = re.compile(
    rf"{re.escape(WORKING_PREFIX)}([0-9a-f-]{{36}})(?:{'|'.join(map(re.escape, WORKING_SUFFIXES))})"
)


class SweepResult(NamedTuple):
    """The numbers of jobs that a sweep has corrected."""

    finished: int
    """Finished jobs whose part file was removed."""
    unknown: int
    """Unknown jobs whose old part file was removed."""
    lost: int
    """Jobs whose part file is gone: their progress was reset."""


class WorkingFiles(NamedTuple):
    """The working files of one job in one folder."""

    directory: Path
    job_id: str


class DiskSweep:
    """Looks once at the working files of this machine and at the jobs that need them.

    Args:
        jobs: the rows.
        destinations: opens and removes part files.
        root: the download folder.
        allow_any_directory: whether jobs may have folders outside of `root`.
        drain: ends a sweep early.
        clock: the wall clock, aware UTC.

    Attributes:
        steps: how far the sweep is: it rises with each folder and each job.
    """

    def __init__(
        self,
        jobs: JobRepository,
        destinations: Destinations,
        *,
        root: Path,
        allow_any_directory: bool,
        drain: Drain,
        clock: Callable[[], datetime],
    ) -> None:
        self._jobs, self._destinations = jobs, destinations
        self._root, self._allow_any_directory = root, allow_any_directory
        self._drain, self._clock = drain, clock
        self.steps = 0
        #: By when the jobs ended that a sweep has looked up; the same of the present sweep.
        self._looked_up_until = self._looks_up_until = self._all_looked_up_at = _NEVER

    def run(self) -> SweepResult:
        """Remove the obsolete files, then reset the progress of jobs whose files are lost."""
        finished, unknown = self._remove_obsolete_files()
        self._looked_up_until = self._looks_up_until
        result = SweepResult(finished, unknown, self._reset_lost_progress())
        if any(result):
            logger.info(
                "Swept the disk: removed the part files of %d finished and %d unknown jobs, reset the "
                "progress of %d jobs whose part file is gone",
                *result,
            )
        return result

    # ── obsolete files ──────────────────────────────────────────────────────────────────────────

    def _remove_obsolete_files(self) -> tuple[int, int]:
        finished = unknown = 0
        for found in _batches(self._find_working_files()):
            jobs = self._jobs.get_many([one.job_id for one in found])
            for one in found:
                job = jobs.get(one.job_id)
                if job is None:
                    unknown += _is_old(one) and self._remove(one)
                elif self._has_finished_some_time_ago(job):
                    finished += self._remove(one)
        return finished, unknown

    def _find_working_files(self) -> Iterator[WorkingFiles]:
        """Yield the working files below the download folder, once for each folder and job."""
        if self._allow_any_directory:
            yield from self._find_working_files_elsewhere()
        for directory, folders, names in os.walk(self._root):
            self.steps += 1
            if self._drain.has_started:
                return
            folders.sort()
            ids = {match[1] for name in names if (match := _WORKING_NAME.fullmatch(name))}
            for job_id in sorted(ids):
                yield WorkingFiles(Path(directory), job_id)

    def _find_working_files_elsewhere(self) -> Iterator[WorkingFiles]:
        """Yield those of finished jobs in other folders, which are looked up, not walked.

        There may be millions. So all are looked up by the first sweep of a process and once a day, as
        folders may have been away; the other sweeps look up those that ended since.
        """
        now = self._clock()
        if now - self._all_looked_up_at >= LOOK_UP_ALL_EVERY:
            self._all_looked_up_at, self._looked_up_until = now, _NEVER
        for job in self._jobs_finished_since(self._looked_up_until - OVERLAP):
            directory = Path(job.directory)
            self.steps += 1
            if self._drain.has_started:
                return
            if directory.is_absolute() and not directory.is_relative_to(self._root):
                with suppress(SeenError):
                    if self._destinations.exists(directory, job.id):
                        yield WorkingFiles(directory, job.id)
        self._looks_up_until = now

    def _jobs_finished_since(self, since: datetime) -> Iterator[Job]:
        for status in sorted(FINISHED):
            last: Job | None = None
            while page := self._jobs.finished_since(since, status, after=last, limit=BATCH):
                last = page[-1]
                yield from page

    def _has_finished_some_time_ago(self, job: Job) -> bool:
        """Return whether the job's own worker should have removed its files by now."""
        latest = self._clock() - timedelta(seconds=FINISH_GRACE)
        return (
            is_part_file_obsolete(job) and job.finished_at is not None and job.finished_at <= latest
        )

    def _remove(self, found: WorkingFiles) -> bool:
        """Remove the working files, unless the job was claimed again, and note it in its history."""
        self.steps += 1
        removed = remove_job_files(self._jobs, self._destinations, found.directory, found.job_id)
        if removed:
            note = "removed the part file that its worker left behind"
            self._jobs.note_many([found.job_id], note, now=self._clock())
        return removed

    # ── lost files ──────────────────────────────────────────────────────────────────────────────

    def _reset_lost_progress(self) -> int:
        """Reset the progress of inactive jobs that last ran here and whose part file is gone."""
        lost = 0
        after = ""
        while not self._drain.has_started and (
            jobs := self._jobs.inactive_with_progress(after, limit=BATCH)
        ):
            after = jobs[-1].id
            missing = [job for job in jobs if self._is_missing(job)]
            workers = self._jobs.last_workers([job.id for job in missing])
            lost_here = [
                job for job in missing if _host(workers.get(job.id, "")) == socket.gethostname()
            ]
            lost += self._jobs.reset_progress(lost_here, now=self._clock())
        return lost

    def _is_missing(self, job: Job) -> bool:
        self.steps += 1
        try:
            folder = resolve_directory(
                self._root, job.directory, allow_any=self._allow_any_directory
            )
            return not self._destinations.exists(folder, job.id)
        except SeenError:
            return False  # the folder cannot be read now


def _is_old(found: WorkingFiles) -> bool:
    grace = PROBE_FILE_GRACE if is_probe_file(found.job_id) else UNKNOWN_GRACE
    paths = found.directory.glob(f"{WORKING_PREFIX}{found.job_id}.*")
    try:
        newest = max((path.lstat().st_mtime for path in paths), default=0.0)
    except FileNotFoundError:
        return False  # another process has just removed one
    return newest < time.time() - grace


def _batches(found: Iterator[WorkingFiles]) -> Iterator[Sequence[WorkingFiles]]:
    batch: list[WorkingFiles] = []
    for one in found:
        batch.append(one)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _host(worker: str) -> str:
    return worker.rpartition(":")[0]


class Sweeper:
    """Calls `sweep` every `interval` seconds in a thread, and logs an outage once."""

    def __init__(
        self, sweep: Callable[[], SweepResult], outages: OutageLog, interval: float
    ) -> None:
        self._sweep, self._outages = sweep, outages
        # At different times on each machine.
        first = interval * random.uniform(0.1, 1)  # noqa: S311 - not for secrets
        self._thread = PeriodicThread("sweeper", self._run, interval, first=first)

    def start(self) -> None:
        """Start; the first sweep runs within an interval."""
        self._thread.start()

    def close(self) -> None:
        """Stop, after the running sweep if there is one."""
        self._thread.close()

    def _run(self) -> None:
        try:
            self._sweep()
        except (StoreError, DatabaseUnavailableError) as error:
            self._outages.record_failure(_OUTAGE, error)
        else:
            self._outages.record_success(_OUTAGE)
