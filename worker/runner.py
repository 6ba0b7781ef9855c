"""Runs one job of a message: lock → claim → transfer → verify → publish → finish.

Read this module first. It locks and claims, `worker.attempts` transfers, verifies, publishes and
finishes. Three things keep it correct, whichever process dies at whichever point:

* The job's lock in the store (`Lease`) keeps other workers away. It is renewed in the background, and
  its holder stops writing before it can expire.
* Each claim raises the fence (`Job.fence`). SQL and the progress hash reject writes with an older one,
  and the step to VERIFYING compares it once more just before the file gets its name.
* A message only says that jobs may be ready; the claim in SQL decides whether they run.

All jobs of a process run here as coroutines on one thread. What several of them do at about the same
time is done once for all (`Runtime.sql`, `Runtime.store`). Nothing here knows Celery.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import NamedTuple

from database.operations import Claim, ConsumeMessage
from domain.errors import (
    DatabaseUnavailableError,
    SeenError,
    StoreError,
    StoreReplyError,
    UnknownJobError,
)
from domain.job import Job, Priority
from domain.remedies import disks
from worker import tracing
from worker.attempts.attempt import Attempt
from worker.attempts.attempt_end import pause_claims_if_refused, reduce_concurrency_if_starved
from worker.attempts.holdings import Holdings
from worker.cleanup.job_files import is_part_file_obsolete, try_remove_job_files
from worker.leases.lease import Lease
from worker.leases.stop_signal import StopSignal
from worker.logs import context
from worker.metrics.catalog import LOCK_WAIT
from worker.outcome import JobEnd, Outcome
from worker.publishing import Publication
from worker.runtime import Runtime

__all__ = ["JobEnd", "Outcome", "run_job"]

logger = logging.getLogger(__name__)

_NOT_STARTED = "Jobs are not started"


class _Message(NamedTuple):
    """What is known of the message of a job: its queue's priority, and when it was sent and consumed."""

    priority: Priority | None
    sent_at: datetime | None
    since: float


async def run_job(
    runtime: Runtime,
    job_id: str,
    priority: Priority | None = None,
    sent_at: datetime | None = None,
    on_received: Callable[[], None] = lambda: None,
) -> JobEnd:
    """Run one job of a message, up to the state in which this attempt leaves it.

    Args:
        runtime: of this process.
        job_id: from the message.
        priority: of the queue that the message came from. If the job was moved to another queue since,
            this message starts nothing. None accepts any priority.
        sent_at: when the message was sent, as it says.
        on_received: called when the origin has sent all bytes, and they are verified.
    """
    context.enter(context.JobContext(job_id))
    message, stop = _Message(priority, sent_at, time.time()), StopSignal(runtime.drain)
    try:
        lease = await _lock(runtime, job_id, stop)
    except StoreError as error:
        _record_lock_failure(runtime, job_id, error)
        await _mark_message_consumed(runtime, job_id, sent_at)
        return JobEnd(job_id, Outcome.NOT_STARTED, str(error))
    if lease is None:
        # An attempt that requeues its job writes "queued" some milliseconds before it releases the lock.
        # A message consumed in between starts nothing and may be the only one, so SQL must know that
        # the job needs another.
        await _mark_message_consumed(runtime, job_id, sent_at)
        return JobEnd(job_id, Outcome.ALREADY_RUNNING)
    held = Holdings(runtime, lease, on_received)
    try:
        end, job = await _claim_and_run(runtime, job_id, message, held, stop)
    finally:
        await held.give_back()
    if end.outcome is Outcome.REQUEUED and job is not None:
        # After the release: the worker that consumes the message must be able to lock the job.
        await runtime.publish(Publication(job, requeued=True))
    return end


async def _lock(runtime: Runtime, job_id: str, stop: StopSignal) -> Lease | None:
    lock = runtime.cache.download_lock(job_id)
    with runtime.instruments.timed(LOCK_WAIT):
        lease: Lease | None = await runtime.store(runtime.leases.acquire_flow(lock, stop))
    runtime.outages.record_success(_NOT_STARTED)
    runtime.outages.record_success(_job_not_started(job_id))
    return lease


async def _claim_and_run(
    runtime: Runtime, job_id: str, message: _Message, held: Holdings, stop: StopSignal
) -> tuple[JobEnd, Job | None]:
    """Return the end, and the job as this attempt has left it; None without a claim."""
    try:
        claim = Claim(job_id, runtime.worker, runtime.now(), message.priority)
        job: Job | None = await runtime.sql(claim)
        if job is None:
            return await _handle_refused_claim(runtime, job_id), None
    except DatabaseUnavailableError as error:
        reduce_concurrency_if_starved(runtime, error)
        runtime.claim_pause.refused()  # else this worker would consume the whole queue for nothing
        logger.warning("Job %s was not started: %s", job_id, error)
        return JobEnd(job_id, Outcome.NOT_STARTED, str(error)), None
    context.enter(context.JobContext(job_id, job.fence, job.user_id))
    logger.debug("Job %s is claimed, for the %d. time", job_id, job.fence)
    if tracing.active is not None:
        tracing.active.claimed(job, message.since, message.sent_at)
    attempt = Attempt(runtime, job, held, stop)
    try:
        with tracing.span("attempt", job_id, fence=job.fence, attempt=job.attempts):
            return await attempt.run(), attempt.job
    except DatabaseUnavailableError as error:
        logger.warning("Job %s: its state could not be saved yet: %s", job_id, error)
        return JobEnd(job_id, Outcome.UNSAVED, str(error)), attempt.job


# ── messages that run nothing ───────────────────────────────────────────────────────────────────


def _record_lock_failure(runtime: Runtime, job_id: str, error: SeenError) -> None:
    reduce_concurrency_if_starved(runtime, error)
    pause_claims_if_refused(runtime, error)
    # If the key of the lock holds a wrong type, only this job cannot start; other jobs can.
    is_own_key = isinstance(error, StoreReplyError)
    what = _job_not_started(job_id) if is_own_key else _NOT_STARTED
    runtime.outages.record_failure(what, error)


def _job_not_started(job_id: str) -> str:
    return f"Job {job_id} is not started"


async def _mark_message_consumed(runtime: Runtime, job_id: str, sent_at: datetime | None) -> None:
    """Record that the job, if it is queued, has no message. Without SQL, reconcile finds that later."""
    with suppress(DatabaseUnavailableError):
        await runtime.sql(ConsumeMessage(job_id, sent_at))


async def _handle_refused_claim(runtime: Runtime, job_id: str) -> JobEnd:
    """Start nothing; if the job is finished, remove its working files (`publish_for_file_removal`)."""
    try:
        job = await runtime.in_thread(runtime.jobs.get, job_id)
    except UnknownJobError:
        logger.warning("A message names job %s, which is not in the database", job_id)
    else:
        if is_part_file_obsolete(job):
            await _remove_files(runtime, job)
    return JobEnd(job_id, Outcome.NOT_QUEUED)


async def _remove_files(runtime: Runtime, job: Job) -> None:
    """Remove the working files of a finished job, whose history does not change any more."""

    def log_silence(seconds: float) -> None:
        logger.warning("Job %s: %s", job.id, disks.silence_note(disk.folder, seconds))

    disk = runtime.disk_of(job.directory, log_silence)
    remove = partial(try_remove_job_files, runtime.jobs, runtime.destinations, runtime.resolve, job)
    with runtime.disk_watch.watching(disk):
        await disk.call(remove)
