"""Writes what becomes of one attempt: to SQL, which decides, then to the progress hash."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from domain import history
from domain.errors import DatabaseUnavailableError, FencedError, StoreError
from domain.job import Job, JobStatus
from worker.leases.lease import Lease
from worker.progress.reporter import AttemptResult, DownloadTracker, stop_error
from worker.runtime import Runtime

logger = logging.getLogger(__name__)

#: A database that does not answer in the middle of a download is asked again this often. Seconds.
DATABASE_RETRY_INTERVAL = 1.0


class StateWriter:
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

    def mark_verifying(self) -> None:
        """Step to VERIFYING, the last look at what a person wants before the file gets its name.

        Raises:
            FencedError: a newer claim owns the job.
            PausedError, CancelledError: a person wants it stopped.
        """
        verifying = self._retry_until_database_returns(
            lambda: self._runtime.jobs.transition(
                self._job, JobStatus.VERIFYING, now=self._runtime.now()
            ),
            leads_to={JobStatus.VERIFYING},
        )
        if verifying is None:
            raise FencedError(f"Job {self._job.id} belongs to a newer claim.")
        self._job = verifying
        if verifying.control is not None:
            raise stop_error(verifying.control)

    def finish(self, result: AttemptResult, columns: Mapping[str, Any]) -> JobStatus | None:
        """Write how the attempt ends, with further `columns`.

        Returns the state the job is in now: a job that was to go on, and that a person wanted stopped
        meanwhile, is stopped instead. None when another claim owns the job, or may, since the lock has
        expired: then nothing is written.
        """
        if self._lease.is_expired():
            return None
        # Whoever brings the end to SQL late, from the store, must know what was thrown away, too.
        self._set_durable(columns.get("bytes_durable", self._tracker.counts.durable))
        reporter = self._runtime.reporter
        sent_early: list[int | None] = []

        def send_early() -> None:
            # Without database the store is told first, and keeps it until the database has it, too.
            sent_early.append(reporter.finish(self._tracker, result, persisted=False))

        changed = self._retry_until_database_returns(
            lambda: self._transition(result, columns),
            leads_to={result.status, JobStatus.CANCELLED, JobStatus.PAUSED, JobStatus.QUEUED},
            while_away=send_early,
        )
        if changed is None:
            return None
        if changed.status is not result.status:  # a person's wish went first
            result = AttemptResult(status=changed.status, reason=changed.reason)
            self._set_durable(changed.bytes_durable)
            sent_early.clear()
        if sent_early:
            self._note_persisted(sent_early[0])
        else:
            reporter.finish(self._tracker, result, persisted=True)
        log = logger.warning if changed.status is JobStatus.FAILED else logger.info
        why = f": {result.reason}" if result.reason else ""
        log("Job %s is %s%s", changed.id, changed.status, why)
        return changed.status

    def _transition(self, result: AttemptResult, columns: Mapping[str, Any]) -> Job | None:
        counts = self._tracker.counts
        count_columns = {
            "bytes_downloaded": counts.downloaded,
            "bytes_durable": counts.durable,
            "bytes_total": counts.total,
            "speed_mbps": 0.0,
        }
        return self._runtime.jobs.transition(
            self._job,
            result.status,
            now=self._runtime.now(),
            reason=result.reason,
            changes={**count_columns, **result.details(), **columns},
            may_repeat=result.may_repeat,
            event_reason=history.finish_reason(
                result.status,
                reason=result.reason,
                there=counts.downloaded,
                kept=columns.get("bytes_durable", counts.durable),
                sha256=result.sha256,
                verification=result.evidence,
            ),
        )

    def _set_durable(self, durable: int) -> None:
        self._tracker.update(replace(self._tracker.counts, durable=durable))

    def _note_persisted(self, version: int | None) -> None:
        """Let the finished hash go back to its short life, and the index forget the job."""
        if version is None:
            return
        job_id = self._job.id
        try:
            self._runtime.cache.download.mark_persisted([(job_id, version)], [job_id])
        except StoreError as error:
            logger.debug("The store will notice later that job %s is saved: %s", job_id, error)

    def _retry_until_database_returns(
        self,
        write: Callable[[], Job | None],
        *,
        leads_to: set[JobStatus],
        while_away: Callable[[], None] | None = None,
    ) -> Job | None:
        """Do a change of state; `while_away` is called once, when a wait for the database begins."""
        waited = False
        while True:
            try:
                changed = write()
                # An answer that was lost may have been a yes: then the row has moved by our own hand.
                return self._own_row(leads_to) if changed is None and waited else changed
            except DatabaseUnavailableError as error:
                if not waited:
                    logger.warning("Job %s waits for the database: %s", self._job.id, error)
                    waited = True
                    if while_away is not None:
                        while_away()
                if not self._lease.is_alive() or self._runtime.drain.has_started:
                    raise
                time.sleep(DATABASE_RETRY_INTERVAL)

    def _own_row(self, leads_to: set[JobStatus]) -> Job | None:
        """Return the row if it is what our write makes of it, under our own claim."""
        row = self._runtime.jobs.get(self._job.id)
        return row if row.fence == self._job.fence and row.status in leads_to else None
