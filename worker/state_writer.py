"""Writes the states of one attempt: to SQL, which decides, then to the progress hash."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from cache.downloads.download_cache import DownloadCache
from database import JobRepository
from domain import history
from domain.errors import DatabaseUnavailableError, FencedError, StoreError
from domain.job import Job, JobStatus
from worker.leases.drain import Drain
from worker.leases.lease import Lease
from worker.progress.reporter import (
    AttemptResult,
    DownloadTracker,
    ProgressReporter,
    stop_error,
)

logger = logging.getLogger(__name__)

#: Seconds between two tries while the database does not answer.
DATABASE_RETRY_INTERVAL = 1.0


class StateWriter:
    """Changes the state of one claimed job, as long as no newer claim of the job exists.

    While the database does not answer, it retries while the lease is valid: until then no other worker
    writes to the part file. Methods raise DatabaseUnavailableError when the lease ends or the
    process drains before the database answers.

    Args:
        job: as claimed.
        tracker: its progress.
        lease: of its lock.
        jobs: its row.
        reporter: sends its last progress.
        progress_cache: holds its progress hash.
        drain: of this process.
        clock: the wall clock, aware UTC.
    """

    def __init__(
        self,
        job: Job,
        tracker: DownloadTracker,
        lease: Lease,
        *,
        jobs: JobRepository,
        reporter: ProgressReporter,
        progress_cache: DownloadCache,
        drain: Drain,
        clock: Callable[[], datetime],
    ) -> None:
        self._job, self._tracker, self._lease = job, tracker, lease
        self._jobs, self._reporter, self._progress_cache = jobs, reporter, progress_cache
        self._drain, self._clock = drain, clock

    def mark_verifying(self) -> None:
        """Change to VERIFYING: the last check of fence and control before the file gets its name.

        Raises:
            FencedError: a newer claim has the job.
            PausedError, CancelledError: a pause or cancel is requested.
        """
        verifying = self._retry_until_database_returns(
            lambda: self._jobs.transition(self._job, JobStatus.VERIFYING, now=self._clock()),
            leads_to={JobStatus.VERIFYING},
        )
        if verifying is None:
            raise FencedError(f"Job {self._job.id} belongs to a newer claim.")
        self._job = verifying
        if verifying.control is not None:
            raise stop_error(verifying.control)

    def finish(self, result: AttemptResult, columns: Mapping[str, Any]) -> JobStatus | None:
        """Write the result of the attempt, with further `columns` of the job's row.

        Returns:
            The new state. A pending cancel replaces QUEUED, WAITING, PAUSED and FAILED, a pending pause
            the first two. None when another claim has the job, or may have it because the lock has
            expired: then nothing is written.
        """
        if self._lease.is_expired():
            return None
        # The progress hash may be copied to SQL later, so it needs this count as well.
        self._set_durable(columns.get("bytes_durable", self._tracker.counts.durable))
        version: int | None = None
        is_sent = False

        def send_unsaved() -> None:
            nonlocal version, is_sent
            version = self._reporter.finish(self._tracker, result, persisted=False)
            is_sent = True

        changed = self._retry_until_database_returns(
            lambda: self._transition(result, columns),
            leads_to={result.status, JobStatus.CANCELLED, JobStatus.PAUSED, JobStatus.QUEUED},
            on_outage=send_unsaved,
        )
        if changed is None:
            return None
        if changed.status is not result.status:  # a pause or cancel was pending
            self._set_durable(changed.bytes_durable)
            result, is_sent = AttemptResult(status=changed.status, reason=changed.reason), False
        if is_sent:
            self._mark_persisted(version)
        else:
            self._reporter.finish(self._tracker, result, persisted=True)
        _log(changed, result)
        return changed.status

    def _transition(self, result: AttemptResult, columns: Mapping[str, Any]) -> Job | None:
        counts = self._tracker.counts
        return self._jobs.transition(
            self._job,
            result.status,
            now=self._clock(),
            reason=result.reason,
            changes={
                **counts.as_fields(),
                "speed_mbps": 0.0,
                **result.details(),
                **columns,
            },
            may_repeat=result.may_repeat,
            event_reason=history.finish_reason(
                result.status,
                counts,
                reason=result.reason,
                sha256=result.sha256,
                verification=result.verification,
            ),
        )

    def _set_durable(self, durable: int) -> None:
        self._tracker.update(replace(self._tracker.counts, durable=durable))

    def _mark_persisted(self, version: int | None) -> None:
        """SQL has the result: mark the hash as persisted, and give it the short TTL."""
        if version is None:
            return
        job_id = self._job.id
        try:
            self._progress_cache.mark_persisted([(job_id, version)], [job_id])
        except StoreError as error:
            logger.debug("The progress hash of job %s keeps its long TTL: %s", job_id, error)

    def _retry_until_database_returns(
        self,
        write: Callable[[], Job | None],
        *,
        leads_to: set[JobStatus],
        on_outage: Callable[[], None] = lambda: None,
    ) -> Job | None:
        """Write a state; `on_outage` is called once, if the database does not answer at first."""
        waited = False
        while True:
            try:
                changed = write()
                # An earlier write may have succeeded although its reply was lost.
                return self._own_row(leads_to) if changed is None and waited else changed
            except DatabaseUnavailableError as error:
                if not waited:
                    logger.warning("Job %s waits for the database: %s", self._job.id, error)
                    waited = True
                    on_outage()
                if not self._lease.is_alive() or self._drain.has_started:
                    raise
                time.sleep(DATABASE_RETRY_INTERVAL)

    def _own_row(self, leads_to: set[JobStatus]) -> Job | None:
        """Return the row if this claim has written it, else None."""
        row = self._jobs.get(self._job.id)
        return row if row.fence == self._job.fence and row.status in leads_to else None


def _log(job: Job, result: AttemptResult) -> None:
    log = logger.warning if job.status is JobStatus.FAILED else logger.info
    log("Job %s is %s%s", job.id, job.status, f": {result.reason}" if result.reason else "")
