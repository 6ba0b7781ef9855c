"""Writes what becomes of one attempt: to SQL, which decides, then to the progress hash."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from domain.errors import DatabaseUnavailableError, FencedError, StoreUnavailableError
from domain.job import Job, JobStatus
from worker.lease import Lease
from worker.progress import DownloadTracker, Ending
from worker.runtime import Runtime

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: A database that does not answer in the middle of a download is asked again this often. Seconds.
DATABASE_PATIENCE = 1.0


class Settlement:
    """The changes of state of one claim. Each is written only while the claim is still the newest.

    A database that is away is waited for as long as the lock is ours: what is on disk stays there, and
    the lock keeps others off it. Methods raise DatabaseUnavailableError when that came to an end, by a
    lost lock or a draining process.
    """

    def __init__(self, runtime: Runtime, job: Job, tracker: DownloadTracker, lease: Lease) -> None:
        self._runtime = runtime
        self._job = job
        self._tracker = tracker
        self._lease = lease

    def begin_to_verify(self) -> None:
        """Step to VERIFYING; raise FencedError when a newer claim owns the job."""
        verifying = self._persistently(
            lambda: self._runtime.jobs.transition(
                self._job, JobStatus.VERIFYING, now=self._runtime.now()
            )
        )
        if verifying is None:
            raise FencedError(f"Job {self._job.id} belongs to a newer claim.")
        self._job = verifying

    def write(self, ending: Ending, columns: Mapping[str, Any]) -> bool:
        """Write how the attempt ends, with further `columns`; False when a newer claim owns the job."""
        reporter = self._runtime.reporter
        told_early: list[int | None] = []

        def tell_early() -> None:
            # Without database the store is told first, and keeps it until the database has it, too.
            told_early.append(reporter.finish(self._tracker, ending, persisted=False))

        changed = self._persistently(
            lambda: self._transition(ending, columns), while_away=tell_early
        )
        if changed is None:
            return False
        if told_early:
            self._note_persisted(told_early[0])
        else:
            reporter.finish(self._tracker, ending, persisted=True)
        log = logger.warning if ending.status is JobStatus.FAILED else logger.info
        why = f": {ending.reason}" if ending.reason else ""
        log("Job %s is %s%s", changed.id, ending.status, why)
        return True

    def _transition(self, ending: Ending, columns: Mapping[str, Any]) -> Job | None:
        tracker = self._tracker
        counts = {
            "bytes_downloaded": tracker.bytes_downloaded,
            "bytes_durable": tracker.bytes_durable,
            "bytes_total": tracker.bytes_total,
            "speed_mbps": 0.0,
        }
        return self._runtime.jobs.transition(
            self._job,
            ending.status,
            now=self._runtime.now(),
            reason=ending.reason,
            changes={**counts, **ending.details(), **columns},
        )

    def _note_persisted(self, version: int | None) -> None:
        """Let the finished hash go back to its short life, and the index forget the job."""
        if version is None:
            return
        job_id = self._job.id
        try:
            self._runtime.cache.download.mark_persisted([(job_id, version)], [job_id])
        except StoreUnavailableError as error:
            logger.debug("The store will notice later that job %s is saved: %s", job_id, error)

    def _persistently(
        self, write: Callable[[], T], *, while_away: Callable[[], None] | None = None
    ) -> T:
        """Do a write to SQL; `while_away` is called once, when the waiting for it begins."""
        warned = False
        while True:
            try:
                return write()
            except DatabaseUnavailableError as error:
                if not warned:
                    logger.warning("Job %s waits for the database: %s", self._job.id, error)
                    warned = True
                    if while_away is not None:
                        while_away()
                if not self._lease.is_alive() or self._runtime.drain.has_begun:
                    raise
                time.sleep(DATABASE_PATIENCE)
