"""Runs the job that one message names: lock → claim → transfer → verify → publish → finish.

Read this module first. It locks and claims, `worker.attempt` transfers, verifies and publishes, and
`worker.attempt_end` finishes. Three things keep it correct, whichever process dies at whichever point:

* The job's lock in the store (`Lease`) keeps other workers away. It is renewed in the background, and
  its holder stops writing before it can expire.
* Each claim raises the fence (`Job.fence`). SQL and the progress hash reject writes with an older one,
  and the step to VERIFYING compares it once more just before the file gets its name.
* A message only says that a job may be ready; the claim in SQL decides whether it runs.

Nothing here knows Celery.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from datetime import datetime

from domain.errors import (
    DatabaseUnavailableError,
    SeenError,
    StoreError,
    StoreReplyError,
    UnknownJobError,
)
from domain.job import Priority
from worker.attempt import Attempt
from worker.attempt_end import pause_claims_if_refused, reduce_concurrency_if_starved
from worker.cleanup.job_files import is_part_file_obsolete, try_remove_job_files
from worker.leases.lease import Lease
from worker.leases.stop_signal import StopSignal
from worker.outcome import Outcome
from worker.runtime import Runtime

__all__ = ["Outcome", "run_download"]

logger = logging.getLogger(__name__)

_NOT_STARTED = "Jobs are not started"


def run_download(
    runtime: Runtime,
    job_id: str,
    priority: Priority | None = None,
    sent_at: datetime | None = None,
) -> Outcome:
    """Run the job of one message, up to the state in which this attempt leaves it.

    Args:
        runtime: of this process.
        job_id: from the message.
        priority: of the queue that the message came from. If the job was moved to another queue since,
            this message starts nothing. None accepts any priority.
        sent_at: when the message was sent, as it says.
    """
    with runtime.concurrency.acquire(runtime.drain) as acquired:
        if acquired and runtime.claim_pause.wait(runtime.drain):
            return _lock_and_run(runtime, job_id, priority, sent_at)
    # This process drains; another worker is to run the job.
    runtime.publisher.republish(job_id)
    return Outcome.REQUEUED


def _lock_and_run(
    runtime: Runtime, job_id: str, priority: Priority | None, sent_at: datetime | None
) -> Outcome:
    stop = StopSignal(runtime.drain)
    try:
        lease = runtime.leases.acquire(runtime.cache.download_lock(job_id), stop)
    except StoreError as error:
        _record_lock_failure(runtime, job_id, error)
        _mark_message_consumed(runtime, job_id, sent_at)
        return Outcome.NOT_STARTED
    runtime.outages.record_success(_NOT_STARTED)
    runtime.outages.record_success(_job_not_started(job_id))
    if lease is None:
        # An attempt that requeues its job writes "queued" some milliseconds before it releases the lock.
        # A message consumed in between starts nothing and may be the only one, so SQL must know that
        # the job needs another.
        _mark_message_consumed(runtime, job_id, sent_at)
        return Outcome.ALREADY_RUNNING
    try:
        outcome = _claim_and_run(runtime, job_id, priority, lease, stop)
    finally:
        runtime.leases.release(lease)
    if outcome is Outcome.REQUEUED:
        # After the release: the worker that consumes the message must be able to lock the job.
        runtime.publisher.republish(job_id)
    return outcome


def _claim_and_run(
    runtime: Runtime, job_id: str, priority: Priority | None, lease: Lease, stop: StopSignal
) -> Outcome:
    try:
        job = runtime.jobs.claim(
            job_id, worker=runtime.worker, now=runtime.now(), priority=priority
        )
        if job is None:
            return _handle_refused_claim(runtime, job_id)
    except DatabaseUnavailableError as error:
        reduce_concurrency_if_starved(runtime, error)
        logger.warning("Job %s was not started: %s", job_id, error)
        return Outcome.NOT_STARTED
    try:
        return Attempt(runtime, job, lease, stop).run()
    except DatabaseUnavailableError as error:
        logger.warning("Job %s: its state could not be saved yet: %s", job_id, error)
        return Outcome.UNSAVED


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


def _mark_message_consumed(runtime: Runtime, job_id: str, sent_at: datetime | None) -> None:
    """Record that the job, if it is queued, has no message. Without SQL, reconcile finds that later."""
    with suppress(DatabaseUnavailableError):
        runtime.jobs.mark_message_consumed(job_id, sent_at)


def _handle_refused_claim(runtime: Runtime, job_id: str) -> Outcome:
    """Start nothing; if the job is finished, remove its working files (`publish_for_file_removal`)."""
    try:
        job = runtime.jobs.get(job_id)
    except UnknownJobError:
        logger.warning("A message names job %s, which is not in the database", job_id)
        return Outcome.NOT_QUEUED
    if is_part_file_obsolete(job):
        try_remove_job_files(runtime.jobs, runtime.destinations, runtime.resolve, job)
    return Outcome.NOT_QUEUED
