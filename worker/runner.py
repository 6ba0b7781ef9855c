"""Runs one download: lock → claim → transfer → verify → finish. Read this first; no Celery in it.

What holds it together:

* One lock in the store (`Lease`) keeps other workers away while we work; it is renewed behind our back
  and stops us before it can expire.
* One fence from SQL (`Job.fence`, raised by each claim) makes every later write ours or nobody's: SQL
  compares it, the progress hash compares it, and the step to VERIFYING compares it before the file may
  get its final name.
* A message is only a hint. Whether there is anything to do, SQL says.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from domain.byte_counts import ByteCounts
from domain.errors import (
    CancelledError,
    ChecksumMismatchError,
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
    StoreError,
    StoreRefusesError,
    StoreReplyError,
    StoreUnavailableError,
    TransientError,
    UnknownJobError,
)
from domain.files import Checksum
from domain.job import Job, JobStatus, Priority
from domain.urls import host_of
from worker.cleanup.job_files import is_part_file_obsolete, remove_job_files
from worker.leases.lease import Lease
from worker.leases.stop_signal import StopSignal
from worker.limits.shared_quota import SharedQuota
from worker.progress.reporter import AttemptResult
from worker.resources import resource_error_of
from worker.runtime import Runtime
from worker.state_writer import StateWriter
from worker.storage.destination import Destination
from worker.storage.disk_errors import PART_FILE_BUSY
from worker.storage.filenames import name_from_url
from worker.transfer.engine import Transfer
from worker.transfer.integrity.digests import PrefixDigests
from worker.transfer.interfaces import TransferQuota
from worker.transfer.output_file import TransferResult
from worker.transfer.spec import TransferSpec

logger = logging.getLogger(__name__)


_NOT_STARTED = "Jobs are not started"

#: Until a job looks again whether a key of the store holds what it should. Seconds.
_BAD_KEY_RETRY_AFTER = 30.0

#: Reasons to wait that say nothing of the origin: they use no attempt up.
UNCOUNTED_ERROR_CODES = frozenset(
    {
        PART_FILE_BUSY,  # a predecessor on this machine stands still with its hand on the file
        "disk_full",
        "disk_unavailable",
        "worker_resources",
        "host_busy",
        "user_busy",
        "host_cooling",
    }
)


class Outcome(StrEnum):
    """How one message ended; goes to the log and to Celery's result."""

    COMPLETED = "completed"
    FAILED = "failed"
    WAITING = "waiting"
    PAUSED = "paused"
    CANCELLED = "cancelled"
    REQUEUED = "requeued"
    """This worker drained or lost its lock; the job is queued again."""
    ALREADY_RUNNING = "already running"
    """Another worker holds the lock: a second message for a running job does nothing."""
    NOT_QUEUED = "not queued"
    """SQL says there is nothing to do: done already, cancelled, waiting, or moved to another queue."""
    NOT_STARTED = "not started"
    """Store or database did not answer before anything began; the job stays queued."""
    UNSAVED = "unsaved"
    """The attempt ended while the database was away; what it left behind is picked up from there."""
    FENCED = "fenced"
    """Another claim owns the job now, or may: this one left no trace."""


def run_download(
    runtime: Runtime,
    job_id: str,
    priority: Priority | None = None,
    sent_at: datetime | None = None,
) -> Outcome:
    """Run the job of one message to the end of this attempt.

    Args:
        runtime: of this process.
        job_id: what the message says.
        priority: that of the queue it came from; a job that has been moved to another one has its
            message there.
        sent_at: when the message was sent, as it says.
    """
    with runtime.concurrency.acquire(runtime.drain) as acquired:
        if acquired and runtime.claim_pause.wait(runtime.drain):
            return _run_with_capacity(runtime, job_id, priority, sent_at)
    # The broker handed this out while the process was already leaving: another one is to have it.
    runtime.publisher.republish(job_id)
    return Outcome.REQUEUED


def _run_with_capacity(
    runtime: Runtime, job_id: str, priority: Priority | None, sent_at: datetime | None
) -> Outcome:
    stop = StopSignal(runtime.drain)
    try:
        lease = runtime.leases.acquire(runtime.cache.download_lock(job_id), stop)
    except StoreError as error:
        _reduce_concurrency_if_starved(runtime, error)
        _pause_claims_if_refused(runtime, error)
        # A key that holds something else is this job's trouble; others start.
        is_own = isinstance(error, StoreReplyError)
        runtime.outages.record_failure(_job_not_started(job_id) if is_own else _NOT_STARTED, error)
        _mark_message_consumed(runtime, job_id, sent_at)
        return Outcome.NOT_STARTED
    runtime.outages.record_success(_NOT_STARTED)
    runtime.outages.record_success(_job_not_started(job_id))
    if lease is None:
        return _skip_running_job(runtime, job_id, sent_at)
    try:
        outcome = _run_locked(runtime, job_id, priority, lease, stop)
    finally:
        runtime.leases.release(lease)
    if outcome is Outcome.REQUEUED:
        # Not before the lock is free: whoever gets the message must be able to take it.
        runtime.publisher.republish(job_id)
    return outcome


def _job_not_started(job_id: str) -> str:
    return f"Job {job_id} is not started"


def _run_locked(
    runtime: Runtime, job_id: str, priority: Priority | None, lease: Lease, stop: StopSignal
) -> Outcome:
    try:
        job = runtime.jobs.claim(
            job_id, worker=runtime.worker, now=runtime.now(), priority=priority
        )
        if job is None:
            return _discard_message(runtime, job_id)
    except DatabaseUnavailableError as error:
        _reduce_concurrency_if_starved(runtime, error)
        logger.warning("Job %s was not started: %s", job_id, error)
        return Outcome.NOT_STARTED
    try:
        return _Attempt(runtime, job, lease, stop).run()
    except DatabaseUnavailableError as error:
        logger.warning("Job %s: its state could not be saved yet: %s", job_id, error)
        return Outcome.UNSAVED


def _reduce_concurrency_if_starved(runtime: Runtime, error: SeenError) -> None:
    """Run fewer jobs for a while, if it is this process that cannot reach what it asked for."""
    if resource_error_of(error) is not None and runtime.concurrency.reduce():
        runtime.database.close()  # those of its connections that are idle


def _pause_claims_if_refused(runtime: Runtime, error: SeenError) -> None:
    """Claim no further job for a moment, if the store answers and refuses."""
    if isinstance(error, StoreRefusesError):
        runtime.claim_pause.refused()


def _skip_running_job(runtime: Runtime, job_id: str, sent_at: datetime | None) -> Outcome:
    """Drop the message of a job whose lock is held; but see that a queued one gets another.

    Between the state QUEUED and a free lock lie a few milliseconds: a message that comes in that moment
    must not be the last one.
    """
    _mark_message_consumed(runtime, job_id, sent_at)
    return Outcome.ALREADY_RUNNING


def _mark_message_consumed(runtime: Runtime, job_id: str, sent_at: datetime | None) -> None:
    """Note, if the job is still queued, that its message was spent; without database, time tells."""
    with suppress(DatabaseUnavailableError):
        runtime.jobs.mark_message_consumed(job_id, sent_at)


def _discard_message(runtime: Runtime, job_id: str) -> Outcome:
    """There is nothing to download; what a job that has ended left on the way is removed."""
    try:
        job = runtime.jobs.get(job_id)
    except UnknownJobError:
        logger.warning("A message names job %s, which the database does not know", job_id)
        return Outcome.NOT_QUEUED
    if is_part_file_obsolete(job):
        _remove_job_files(runtime, job)
    return Outcome.NOT_QUEUED


def _remove_job_files(runtime: Runtime, job: Job) -> None:
    """Remove what was needed on the way; the job has ended, whatever disk and database say to this."""
    try:
        directory = runtime.resolve(job.directory)
        if runtime.destinations.exists(directory, job.id):
            remove_job_files(runtime.jobs, runtime.destinations, directory, job.id)
    except SeenError as error:
        logger.warning("What job %s left on the disk is removed later: %s", job.id, error)


def _open_part(runtime: Runtime, job: Job) -> Destination:
    return runtime.destinations.open(runtime.resolve(job.directory), job.id)


def _stopped_result(status: JobStatus, error: SeenError) -> AttemptResult:
    """Return an result with its reason; a job that a person or we ourselves stopped has no error."""
    code = None if isinstance(error, StoppedError) else error.code
    return AttemptResult(status=status, reason=str(error), error_code=code)


def _verification_summary(asked: Sequence[str], transfer: Transfer) -> str | None:
    """Return what a complete file was compared with, and which file it is by its origin's word."""
    compared = [f"{text.partition(':')[0]} as asked" for text in asked]
    compared += [f"{text.partition(':')[0]} as promised" for text in transfer.origin_digests]
    return "; ".join([*compared, *transfer.validators]) or None


class _Attempt:
    """One claim of one job, from its first byte to the state it leaves the job in."""

    def __init__(self, runtime: Runtime, job: Job, lease: Lease, stop: StopSignal) -> None:
        self._runtime = runtime
        self._job = job
        self._lease = lease
        self._stop = stop
        self._tracker = runtime.reporter.track(job, stop, lease)
        self._host = host_of(job.url) or job.host or ""
        self._state = StateWriter(runtime, job, self._tracker, lease)
        self._verification_summary: str | None = None

    def run(self) -> Outcome:
        """Do the work, and settle however it ends."""
        try:
            return self._download()
        except FencedError:
            return self._abandon()
        except (DrainingError, LeaseLostError, StoreUnavailableError) as error:
            lack = resource_error_of(error)
            return self._requeue(error) if lack is None else self._retry_later(lack)
        except StoreReplyError as error:
            # A key of its host's or user's limits holds something else: the error says which.
            return self._retry_later(HostBusyError(str(error), retry_after=_BAD_KEY_RETRY_AFTER))
        except PausedError as error:
            # That a person stopped it says nothing of the origin.
            return self._finish(
                _stopped_result(JobStatus.PAUSED, error), attempts=self._job.attempts - 1
            )
        except CancelledError as error:
            return self._finish(_stopped_result(JobStatus.CANCELLED, error), bytes_durable=0)
        except TransientError as error:
            return self._retry_later(error)
        except (PermanentError, InvalidInputError) as error:
            return self._fail(error)
        except DatabaseUnavailableError:
            # Not this attempt's fault, and not its end: what is on disk and in the store tells it.
            self._runtime.reporter.untrack(self._tracker)
            raise
        except Exception as error:
            lack = resource_error_of(error)
            if lack is not None:
                return self._retry_later(lack)
            logger.exception("Job %s met an error nobody foresaw", self._job.id)
            return self._retry_later(
                TransientError("An internal error; the worker's log has it.", code="internal")
            )

    # ── the way of a download that succeeds ─────────────────────────────────────────────────────

    def _download(self) -> Outcome:
        with _open_part(self._runtime, self._job) as part:
            path, digest = self._adopt_published_file(part) or self._fetch_with_limits(part)
            return self._complete(part, str(path), digest)

    def _fetch_with_limits(self, part: Destination) -> tuple[Path, str]:
        """Connect only with a slot of the host's and the user's, and keep within their rates."""
        runtime, job = self._runtime, self._job
        self._record_notes(part)
        if job.name is not None and job.overwrite:
            part.check_replaceable(job.name)  # now, not when the whole file has come
        with runtime.concurrency_shares.hold(self._host, job.user_id):
            return self._fetch_with_slots(part)

    def _fetch_with_slots(self, part: Destination) -> tuple[Path, str]:
        runtime, job = self._runtime, self._job
        held = runtime.slots.acquire(job.id, self._host, job.user_id)
        runtime.claim_pause.served()
        rate = runtime.rate_controller.register(job.id, self._host)
        try:
            return self._fetch_and_publish(part, SharedQuota(held, rate))
        finally:
            runtime.rate_controller.unregister(rate)
            held.release()
            self._requeue_next_waiting()

    def _requeue_next_waiting(self) -> None:
        """Our slots are free: whoever has waited longest for one need not wait for beat."""
        runtime, job, now = self._runtime, self._job, self._runtime.now()
        try:
            woken = runtime.jobs.requeue_for_host(self._host, 1, now)
            if job.user_id is not None:
                woken += runtime.jobs.requeue_for_user(job.user_id, 1, now)
        except DatabaseUnavailableError as error:
            logger.warning("Jobs that wait for a slot are not woken: %s", error)
            return
        runtime.publisher.publish(woken)

    def _fetch_and_publish(self, part: Destination, quota: TransferQuota) -> tuple[Path, str]:
        with self._transfer(part, quota) as transfer:
            fetched, sha256 = self._fetch(transfer)
            try:
                self._mark_verifying()
                path = part.publish(
                    self._file_name(fetched),
                    overwrite=self._job.overwrite,
                    digests=[f"sha256:{sha256}", *self._expected_digests(transfer.origin_digests)],
                    may_publish=self._lease.check,
                )
                self._record_notes(part)
                return path, sha256
            except SeenError:
                # Whole, and not published: the next attempt need not fetch it again.
                transfer.write_checkpoint()
                raise

    def _fetch(self, transfer: Transfer) -> tuple[TransferResult, str]:
        """Return what was fetched and its SHA-256; what does not fit its digest is fetched once more."""
        try:
            return transfer.run(), self._verify(transfer)
        except ChecksumMismatchError as error:
            transfer.restart_without_ranges(str(error))
            self._tracker.status = JobStatus.DOWNLOADING
            return transfer.run(), self._verify(transfer)

    def _transfer(self, part: Destination, quota: TransferQuota) -> Transfer:
        runtime, job = self._runtime, self._job
        secrets = runtime.credential_cipher.decrypt(job)
        return Transfer(
            TransferSpec(
                urls=(job.url, *job.mirrors),
                checksum=job.checksum,
                headers=secrets.headers,
                cookies=secrets.cookies,
                username=secrets.username,
                password=secrets.password,
                connections=job.connections or runtime.engine.options.connections,
                max_bytes=job.max_bytes,
                decode=job.decode,
                ignore_origin_digests=job.ignore_origin_digests,
            ),
            part,
            self._tracker,
            resources=runtime.engine,
            check_may_write=self._lease.check,
            quota=quota,
            add_note=self._record_note,
        )

    def _record_notes(self, part: Destination) -> None:
        while part.notes:
            self._record_note(part.notes.pop(0))

    def _expected_digests(self, promised: Iterable[str]) -> list[str]:
        """Return the digests that the file has to have: the caller's, and those that were promised."""
        return [*([self._job.checksum] if self._job.checksum else []), *promised]

    def _record_note(self, text: str) -> None:
        """Write into the job's history what a reader of it should know; never worth an attempt."""
        logger.info("Job %s: %s", self._job.id, text)
        if self._lease.is_expired():
            return
        try:
            self._runtime.jobs.note(self._job, text, now=self._runtime.now())
        except DatabaseUnavailableError as error:
            logger.warning("Job %s: its history lacks this: %s", self._job.id, error)

    def _mark_verifying(self) -> None:
        """Ask SQL whether the job is still ours: the fence, before the file may get its name."""
        self._state.mark_verifying()
        self._tracker.status = JobStatus.VERIFYING

    def _verify(self, transfer: Transfer) -> str:
        """Return the SHA-256 of the file; raise when a digest it should have does not fit."""
        self._tracker.status = JobStatus.VERIFYING
        try:
            actual = transfer.digests(self._raise_if_stopped)
        except SeenError:
            transfer.write_checkpoint()
            raise
        self._compare(actual, self._expected_digests(transfer.origin_digests))
        self._verification_summary = _verification_summary(self._expected_digests([]), transfer)
        return actual["sha256"]

    def _compare(self, actual: Mapping[str, str], wanted: Iterable[str]) -> None:
        for one in map(Checksum.parse, wanted):
            if actual[one.algorithm] != one.digest:
                raise ChecksumMismatchError(one.algorithm, one.digest, actual[one.algorithm])

    def _adopt_published_file(self, part: Destination) -> tuple[Path, str] | None:
        """Take over a file that stands under its final name already; None when there is none.

        The worker before us fell between publishing and saying so. Its record says what the bytes have
        to be; they are read again, since the file has had a name that others know.
        """
        published = part.find_published()
        if published is None:
            return None
        path, digests = published
        if not any(one.startswith("sha256:") for one in digests):
            part.start_empty(f"the record of {path.name} does not say what was published")
            return None
        self._tracker.status = JobStatus.VERIFYING
        self._tracker.restart(ByteCounts(part.size, part.size, part.size))
        wanted = self._expected_digests(digests)
        algorithms = {"sha256", *(Checksum.parse(one).algorithm for one in wanted)}
        actual = PrefixDigests(part, algorithms, self._runtime.engine.hashing_pool).finish(
            part.size, self._raise_if_stopped
        )
        try:
            self._compare(actual, wanted)
        except ChecksumMismatchError as error:
            part.start_empty(f"{path.name} is not what was published: {error}")
            self._tracker.status = JobStatus.DOWNLOADING
            self._tracker.restart(ByteCounts())
            return None
        self._mark_verifying()
        self._verification_summary = "published by the attempt before"
        return path, actual["sha256"]

    def _file_name(self, fetched: TransferResult) -> str:
        return self._job.name or fetched.name or name_from_url(self._job.url)

    def _complete(self, part: Destination, path: str, digest: str) -> Outcome:
        self._tracker.update(replace(self._tracker.counts, durable=part.size))
        result = AttemptResult(
            status=JobStatus.COMPLETED,
            path=path,
            sha256=digest,
            evidence=self._verification_summary,
        )
        outcome = self._finish(result)
        # Only now: until SQL knows, the part file's name is how a successor recognises the file.
        if outcome is Outcome.COMPLETED:
            self._remove_part_file(part)
        return outcome

    def _remove_part_file(self, part: Destination) -> None:
        try:
            part.remove_working_files()
        except SeenError as error:
            logger.warning("The part file of job %s is removed later: %s", self._job.id, error)

    # ── the other ways it can end ───────────────────────────────────────────────────────────────

    def _abandon(self) -> Outcome:
        self._runtime.reporter.untrack(self._tracker)
        logger.warning("Job %s may be another worker's by now; leaving it", self._job.id)
        return Outcome.FENCED

    def _requeue(self, error: SeenError) -> Outcome:
        """Queue the job again; an attempt that we cut short ourselves has not been used up."""
        _pause_claims_if_refused(self._runtime, error)
        is_stores = not isinstance(error, DrainingError)
        result = replace(_stopped_result(JobStatus.QUEUED, error), may_repeat=is_stores)
        return self._finish(result, attempts=self._job.attempts - 1, worker=None)

    def _fail(self, error: SeenError) -> Outcome:
        """Fail for good; what was fetched is of no use, and a retry is not to go on from it."""
        outcome = self._finish(_stopped_result(JobStatus.FAILED, error), bytes_durable=0)
        if outcome is Outcome.FAILED:
            _remove_job_files(self._runtime, self._job)
        return outcome

    def _retry_later(self, error: TransientError) -> Outcome:
        job = self._job
        _reduce_concurrency_if_starved(self._runtime, error)
        has_filled_disk = isinstance(error, DiskFullError) and error.uses_attempt
        if error.code in UNCOUNTED_ERROR_CODES and not has_filled_disk:
            return self._wait(error, attempts=job.attempts - 1)
        if error.retry_after and not has_filled_disk:
            pause = self._runtime.retry_policy.bounded(error.retry_after)
            self._runtime.slots.cool_down(error.host or self._host, pause, str(error))
        if job.attempts >= job.max_attempts:
            logger.warning("Job %s used up its %d attempts", job.id, job.max_attempts)
            return self._finish(_stopped_result(JobStatus.FAILED, error))
        return self._wait(error, attempts=job.attempts)

    def _wait(self, error: TransientError, *, attempts: int) -> Outcome:
        pause = self._runtime.retry_policy.delay(self._job.attempts, error.retry_after)
        next_attempt_at = self._runtime.now() + timedelta(seconds=pause)
        return self._finish(
            _stopped_result(JobStatus.WAITING, error),
            next_attempt_at=next_attempt_at,
            attempts=attempts,
        )

    def _finish(self, result: AttemptResult, **columns: Any) -> Outcome:
        status = self._state.finish(result, columns)
        if status is None:
            return self._abandon()
        if status is JobStatus.CANCELLED:
            _remove_job_files(self._runtime, self._job)
        return Outcome.REQUEUED if status is JobStatus.QUEUED else Outcome(status.value)

    def _raise_if_stopped(self) -> None:
        self._stop.raise_if_set()
        self._lease.check()
