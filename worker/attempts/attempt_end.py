"""How an attempt ends: the state in which each error leaves the job."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

from domain.errors import (
    CancelledError,
    DatabaseUnavailableError,
    DiskFullError,
    DrainingError,
    FencedError,
    HostBusyError,
    InvalidInputError,
    LeaseLostError,
    PausedError,
    PermanentError,
    SeenError,
    StoppedError,
    StoreRefusesError,
    StoreReplyError,
    StoreUnavailableError,
    TransientError,
)
from domain.job import Job, JobStatus
from domain.limits import HOST_BUSY, TOTAL_BUSY, USER_BUSY
from worker import tracing
from worker.attempts.holdings import Holdings
from worker.attempts.state_writer import StateWriter
from worker.cleanup.job_files import try_remove_job_files
from worker.loop.job_disk import JobDisk
from worker.outcome import JobEnd, Outcome
from worker.progress.reporter import AttemptResult, DownloadTracker
from worker.resources import resource_error_of
from worker.runtime import Runtime
from worker.storage.disk_errors import PART_FILE_BUSY

logger = logging.getLogger(__name__)

#: Codes of waits that say nothing about the job. They use no attempt.
UNCOUNTED_ERROR_CODES = frozenset(
    {
        PART_FILE_BUSY,  # another process here has locked the part file, for example a suspended worker
        "disk_full",
        "disk_unavailable",
        "worker_resources",
        HOST_BUSY,
        USER_BUSY,
        TOTAL_BUSY,
        "host_cooling",
    }
)
#: Seconds for which a job waits if the key of one of its limits holds a wrong type.
_BAD_KEY_RETRY_AFTER = 30.0


class AttemptEnd:
    """Leaves a job in its next state: completed, failed, waiting, paused, cancelled or queued.

    Attributes:
        state: writes the states of this claim.
    """

    def __init__(
        self,
        runtime: Runtime,
        job: Job,
        tracker: DownloadTracker,
        held: Holdings,
        host: str,
        disk: JobDisk,
    ) -> None:
        self._runtime, self._disk = runtime, disk
        self._job = job
        self._tracker = tracker
        self._host, self._held = host, held
        self.state = StateWriter(runtime, job, tracker, held)

    async def after_error(self, error: Exception) -> JobEnd:
        """End an attempt that raised `error`.

        Raises:
            DatabaseUnavailableError: the state could not be written.
        """
        match error:
            case FencedError():
                return self._abandon()
            case DrainingError() | LeaseLostError() | StoreUnavailableError():
                shortage = resource_error_of(error)
                if shortage is None:
                    return await self._requeue(error)
                return await self._retry_later(shortage)
            case StoreReplyError():
                # The key of one of its slot limits holds a wrong type; the error names the key.
                return await self._retry_later(
                    HostBusyError(str(error), code=HOST_BUSY, retry_after=_BAD_KEY_RETRY_AFTER)
                )
            case PausedError():
                # A pause uses no attempt.
                result = _result_of(JobStatus.PAUSED, error)
                return await self.finish(result, attempts=self._job.attempts - 1)
            case CancelledError():
                return await self.finish(_result_of(JobStatus.CANCELLED, error), bytes_durable=0)
            case TransientError():
                return await self._retry_later(error)
            case PermanentError() | InvalidInputError():
                return await self._fail(error)
            case DatabaseUnavailableError():
                # Nothing can be saved: the job runs in SQL until it is requeued as an orphan.
                self._runtime.reporter.untrack(self._tracker)
                raise error
            case _:
                return await self._after_unexpected(error)

    async def finish(self, result: AttemptResult, **columns: Any) -> JobEnd:
        """Write the result, with further columns of the job's row."""
        status = await self.state.finish(result, columns)
        if status is None:
            return self._abandon()
        if status is JobStatus.CANCELLED:
            await self._remove_files()
        outcome = Outcome.REQUEUED if status is JobStatus.QUEUED else Outcome(status.value)
        return JobEnd(self._job.id, outcome, self.state.job.reason or "")

    async def _after_unexpected(self, error: Exception) -> JobEnd:
        shortage = resource_error_of(error)
        if shortage is not None:
            return await self._retry_later(shortage)
        logger.error("Job %s met an unexpected error", self._job.id, exc_info=error)
        reason = "An internal error; its traceback is in the worker's log."
        return await self._retry_later(TransientError(reason, code="internal"))

    def _abandon(self) -> JobEnd:
        self._runtime.reporter.untrack(self._tracker)
        logger.warning(
            "Job %s may have a newer claim; this worker stops working on it", self._job.id
        )
        tracing.failed("A newer claim has the job.", "fenced")
        return JobEnd(self._job.id, Outcome.FENCED)

    async def _requeue(self, error: SeenError) -> JobEnd:
        """Queue the job again. The attempt does not count, because the job did not cause its end."""
        pause_claims_if_refused(self._runtime, error)
        is_stores_fault = not isinstance(error, DrainingError)
        result = replace(_result_of(JobStatus.QUEUED, error), may_repeat=is_stores_fault)
        return await self.finish(result, attempts=self._job.attempts - 1, worker=None)

    async def _fail(self, error: SeenError) -> JobEnd:
        """Fail the job and remove its working files: after a retry it starts from zero."""
        end = await self.finish(_result_of(JobStatus.FAILED, error), bytes_durable=0)
        if end.outcome is Outcome.FAILED:
            await self._remove_files()
        return end

    async def _retry_later(self, error: TransientError) -> JobEnd:
        """Let the job wait for its next attempt; fail it when this was the last one."""
        job = self._job
        reduce_concurrency_if_starved(self._runtime, error)
        has_filled_disk = isinstance(error, DiskFullError) and error.uses_attempt
        if error.code in UNCOUNTED_ERROR_CODES and not has_filled_disk:
            return await self._wait(error, attempts=job.attempts - 1)
        if error.retry_after and not has_filled_disk:
            cooldown = self._runtime.retry_policy.bounded(error.retry_after)
            host = error.host or self._host
            await self._runtime.store(
                self._runtime.slots.cool_down_flow(host, cooldown, str(error))
            )
        if job.attempts >= job.max_attempts:
            logger.warning("Job %s used up its %d attempts", job.id, job.max_attempts)
            return await self.finish(_result_of(JobStatus.FAILED, error))
        return await self._wait(error, attempts=job.attempts)

    async def _wait(self, error: TransientError, *, attempts: int) -> JobEnd:
        delay = self._runtime.retry_policy.delay(self._job.attempts, error.retry_after)
        end = await self.finish(
            _result_of(JobStatus.WAITING, error),
            next_attempt_at=self._runtime.now() + timedelta(seconds=delay),
            attempts=attempts,
        )
        if end.outcome is Outcome.WAITING:
            self._held.keep_place(delay)
        return end

    async def _remove_files(self) -> None:
        runtime = self._runtime
        remove = partial(
            try_remove_job_files, runtime.jobs, runtime.destinations, runtime.resolve, self._job
        )
        await self._disk.call(remove)


def reduce_concurrency_if_starved(runtime: Runtime, error: SeenError) -> None:
    """Run fewer downloads for a while if an error shows that this process lacks a resource."""
    if resource_error_of(error) is not None and runtime.concurrency.reduce():
        runtime.database.close()  # its idle connections


def pause_claims_if_refused(runtime: Runtime, error: SeenError) -> None:
    """Claim no job for a moment if the store answers and refuses."""
    if isinstance(error, StoreRefusesError):
        runtime.claim_pause.refused()


def _result_of(status: JobStatus, error: SeenError) -> AttemptResult:
    """Return the result of an error. A job that was stopped on purpose has no error code."""
    code = None if isinstance(error, StoppedError) else error.code
    return AttemptResult(status=status, reason=str(error), error_code=code, cause=error.code)
