"""Writes the states of one attempt: to SQL, which decides, then to the progress hash."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from cache.downloads.download_cache import DownloadCache
from database.changes import Change
from database.operations import Transition
from domain import history
from domain.errors import DatabaseUnavailableError, FencedError, StoreError
from domain.job import Job, JobStatus
from worker import tracing
from worker.attempts.holdings import Holdings
from worker.metrics.catalog import ATTEMPTS
from worker.metrics.reasons import bounded_reason
from worker.progress.reporter import AttemptResult, DownloadTracker, stop_error
from worker.runtime import Runtime

logger = logging.getLogger(__name__)

#: Seconds between two tries while the database does not answer.
DATABASE_RETRY_INTERVAL = 1.0


class StateWriter:
    """Changes the state of one claimed job, as long as no newer claim of the job exists.

    While the database does not answer, it retries while the lease is valid: until then no other worker
    writes to the part file. Methods raise DatabaseUnavailableError when the lease ends or the
    process drains before the database answers.

    Args:
        runtime: of this process.
        job: as claimed.
        tracker: its progress.
        held: what the attempt holds in the store.

    Attributes:
        job: as last written.
    """

    def __init__(
        self, runtime: Runtime, job: Job, tracker: DownloadTracker, held: Holdings
    ) -> None:
        self.job = job
        self._runtime, self._tracker, self._held = runtime, tracker, held

    async def mark_verifying(self) -> None:
        """Change to VERIFYING: the last check of fence and control before the file gets its name.

        Raises:
            FencedError: a newer claim has the job.
            PausedError, CancelledError: a pause or cancel is requested.
        """
        verifying = await self._write(
            lambda: Change(JobStatus.VERIFYING, self._runtime.now(), None, {}),
            leads_to={JobStatus.VERIFYING},
        )
        if verifying is None:
            raise FencedError(f"Job {self.job.id} belongs to a newer claim.")
        self.job = verifying
        if verifying.control is not None:
            raise stop_error(verifying.control)

    async def finish(self, result: AttemptResult, columns: Mapping[str, Any]) -> JobStatus | None:
        """Write the result of the attempt, with further `columns` of the job's row.

        Returns:
            The new state. A pending cancel replaces QUEUED, WAITING, PAUSED and FAILED, a pending pause
            the first two. None when another claim has the job, or may have it because the lock has
            expired: then nothing is written.
        """
        if self._held.lease.is_expired():
            return None
        # The progress hash may be copied to SQL later, so it needs this count as well.
        self._set_durable(columns.get("bytes_durable", self._tracker.counts.durable))
        unsaved = _UnsavedEnd(self._runtime, self._tracker, result)
        changed = await self._write(
            lambda: self._change(result, columns),
            leads_to={result.status, JobStatus.CANCELLED, JobStatus.PAUSED, JobStatus.QUEUED},
            unsaved=unsaved,
        )
        if changed is None:
            return None
        if changed.status is not result.status:  # a pause or cancel was pending
            self._set_durable(changed.bytes_durable)
            cause = changed.status.value
            result = AttemptResult(status=changed.status, reason=changed.reason, cause=cause)
            self._held.show_at_the_end(self._tracker, result)
        elif unsaved.is_shown:
            await unsaved.mark_persisted()
        else:
            self._held.show_at_the_end(self._tracker, result)
        self.job = changed
        cause = bounded_reason(result.cause)
        self._runtime.instruments.count(ATTEMPTS, changed.status.value, cause)
        _log(changed, result)
        return changed.status

    def _change(self, result: AttemptResult, columns: Mapping[str, Any]) -> Change:
        counts = self._tracker.counts
        return Change(
            result.status,
            self._runtime.now(),
            result.reason,
            {**counts.as_fields(), "speed_mbps": 0.0, **result.details(), **columns},
            event_reason=history.finish_reason(
                result.status,
                counts,
                reason=result.reason,
                sha256=result.sha256,
                verification=result.verification,
            ),
            may_repeat=result.may_repeat,
        )

    def _set_durable(self, durable: int) -> None:
        self._tracker.update(replace(self._tracker.counts, durable=durable))

    async def _write(
        self,
        change: Callable[[], Change],
        *,
        leads_to: set[JobStatus],
        unsaved: _UnsavedEnd | None = None,
    ) -> Job | None:
        """Write a state, as soon as the database answers; show an `unsaved` end meanwhile."""
        waited = False
        while True:
            try:
                changed: Job | None = await self._runtime.sql(Transition(self.job, change()))
                # An earlier write may have succeeded although its reply was lost.
                return await self._own_row(leads_to) if changed is None and waited else changed
            except DatabaseUnavailableError as error:
                if not waited:
                    logger.warning("Job %s waits for the database: %s", self.job.id, error)
                    waited = True
                    if unsaved is not None:
                        await unsaved.show()
                if not self._held.lease.is_alive() or self._runtime.drain.has_started:
                    raise
                await asyncio.sleep(DATABASE_RETRY_INTERVAL)

    async def _own_row(self, leads_to: set[JobStatus]) -> Job | None:
        """Return the row if this claim has written it, else None."""
        row = await self._runtime.in_thread(self._runtime.jobs.get, self.job.id)
        return row if row.fence == self.job.fence and row.status in leads_to else None


class _UnsavedEnd:
    """A final state that the store shows before SQL has it, because the database does not answer.

    `persist_progress` copies it to SQL if this worker dies.
    """

    def __init__(self, runtime: Runtime, tracker: DownloadTracker, result: AttemptResult) -> None:
        self._runtime, self._tracker, self._result = runtime, tracker, result
        self._version: int | None = None
        self.is_shown = False

    async def show(self) -> None:
        """Send the state to the store."""
        flow = self._runtime.reporter.finish_flow(self._tracker, self._result, persisted=False)
        self._version = await self._runtime.store(flow)
        self.is_shown = True

    async def mark_persisted(self) -> None:
        """SQL has the state: mark the hash as persisted, and give it the short TTL."""
        if self._version is None:
            return
        job_id = self._tracker.job_id
        try:
            cache = self._runtime.cache.download
            await self._runtime.store(
                DownloadCache.mark_persisted.flow(cache, [(job_id, self._version)], [job_id])
            )
        except StoreError as error:
            logger.debug("The progress hash of job %s keeps its long TTL: %s", job_id, error)


def _log(job: Job, result: AttemptResult) -> None:
    log = logger.warning if job.status is JobStatus.FAILED else logger.info
    fields = {
        "fence": job.fence,
        "reason": result.reason,
        "error_code": result.error_code,
        "bytes": job.bytes_downloaded,
    }
    why = f": {result.reason}" if result.reason else ""
    log("Job %s is %s%s", job.id, job.status, why, extra=fields)
    if result.error_code is not None:
        tracing.failed(result.reason, result.error_code)
    tracing.job_ended(job)
