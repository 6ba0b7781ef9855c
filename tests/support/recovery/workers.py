"""Simulated workers: a test decides when they write, are suspended, crash and continue.

Lock, claim, lease, progress reporter and the end of an attempt are the product's own. Only the transfer
is simulated.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import cast

from cache import DownloadCache
from cache.downloads.progress_hash import ProgressUpdate, UpdateReply
from cache.models import version
from cache.store.flow import Flow
from database.operations import Claim, ConsumeMessage
from domain.byte_counts import ByteCounts
from domain.errors import (
    DatabaseUnavailableError,
    FencedError,
    SeenError,
    StoppedError,
    StoreUnavailableError,
)
from domain.job import Job, JobStatus
from tests.support.counts import set_counts
from tests.support.services.operations import claim, consume_message
from worker.attempts.attempt import Attempt
from worker.attempts.holdings import Holdings
from worker.leases.drain import Drain
from worker.leases.lease import Lease, LeaseManager
from worker.leases.stop_signal import StopSignal
from worker.outcome import JobEnd, Outcome
from worker.progress.reporter import AttemptResult, ProgressReporter
from worker.runtime import Runtime

#: Seconds, longer than any test: the threads of a simulated process do nothing by themselves.
NEVER = 3600.0
#: Bytes of every file.
TOTAL = 1000


class Reported:
    """What claims have reported to the store: the byte count of each job and version."""

    def __init__(self) -> None:
        self.counts: dict[tuple[str, int], int] = {}

    def note(self, updates: Sequence[ProgressUpdate]) -> None:
        """Record updates that are sent."""
        for update in updates:
            self.counts[update.job_id, update.version] = update.counts.downloaded

    def of(self, job_id: str, fence: int, sequence: int) -> int | None:
        """Return the byte count of one update of a claim, or None when there was no such update."""
        return self.counts.get((job_id, version(fence, sequence)))


class LossyCache:
    """The download cache of a reporter; it can lose one request, or the reply to it."""

    def __init__(self, cache: DownloadCache, reported: Reported) -> None:
        self._cache = cache
        self._reported = reported
        self.loses: str | None = None

    @property
    def _sender(self) -> LossyCache:
        """What the flow of `DownloadCache.apply` uses for the last updates of a download."""
        return self

    def finish(self, updates: Sequence[ProgressUpdate]) -> Flow[list[UpdateReply]]:
        """Send the last updates of a download; none of them is lost."""
        self._reported.note(updates)
        return self._cache._sender.finish(updates)

    def apply(
        self,
        updates: Sequence[ProgressUpdate],
        polled: Sequence[tuple[str, int]] = (),
        *,
        finished_bytes: int = 0,
    ) -> list[UpdateReply]:
        """Send updates, unless they are to be lost."""
        loses, self.loses = self.loses, None
        if loses == "request":
            raise StoreUnavailableError("the request is lost")
        self._reported.note(updates)
        replies: list[UpdateReply] = self._cache.apply(
            updates, polled, finished_bytes=finished_bytes
        )
        if loses == "reply":
            raise StoreUnavailableError("the reply is lost")
        return replies


class SteppedAttempt(Attempt):
    """One claim of one job whose transfer a test makes, step by step."""

    def __init__(self, runtime: Runtime, job: Job, lease: Lease, stop: StopSignal) -> None:
        super().__init__(runtime, job, Holdings(runtime, lease), stop)
        self.lease, self.stop = lease, stop
        self._error: SeenError | None = None
        set_counts(self._tracker, total=TOTAL)

    @property
    def is_verifying(self) -> bool:
        """Whether its file is whole, and SQL has noted it."""
        return self._tracker.status is JobStatus.VERIFYING

    def replaces(self, other: SteppedAttempt) -> bool:
        """Whether this is a newer claim of the same job."""
        return self.job.id == other.job.id and self.job.fence > other.job.fence

    def write(self, size: int) -> None:
        """Write `size` bytes; raise LeaseLostError when the lease is over."""
        self.lease.check()
        tracker = self._tracker
        set_counts(tracker, downloaded=min(TOTAL, tracker.counts.downloaded + size))

    def checkpoint(self) -> None:
        """Make the written bytes durable."""
        self.lease.check()
        set_counts(self._tracker, durable=self._tracker.counts.downloaded)

    def restart(self) -> None:
        """Find that the file has changed at its origin."""
        self.lease.check()
        self._tracker.restart(ByteCounts(total=self._tracker.counts.total))

    def verify(self) -> None:
        """Write the rest of the file, and check the fence and pending control requests."""
        self.write(TOTAL)
        self._runtime.event_loop.run(self._mark_verifying())
        self.lease.check()

    def end(self, error: SeenError | None) -> Outcome:
        """End with an error or, once verified, with the complete file."""
        return self._runtime.event_loop.run(self.end_with(error)).outcome

    async def end_with(self, error: SeenError | None) -> JobEnd:
        """Do `end` on the event loop."""
        self._error = error
        return await self._run_and_give_back()

    async def _run_and_give_back(self) -> JobEnd:
        try:
            return await self.run()
        finally:
            await self._held.give_back()

    async def _download(self) -> JobEnd:
        if self._error is not None:
            raise self._error
        set_counts(self._tracker, durable=TOTAL)
        end = AttemptResult(status=JobStatus.COMPLETED, path=f"/x/{self.job.id}", sha256="ab" * 32)
        return await self._end.finish(end)


async def _end_all(errors: Mapping[SteppedAttempt, SeenError | None]) -> list[Outcome]:
    ends = (attempt.end_with(error) for attempt, error in errors.items())
    found: list[Outcome] = []
    for end in await asyncio.gather(*ends, return_exceptions=True):
        if isinstance(end, DatabaseUnavailableError):
            found.append(Outcome.UNSAVED)
        elif isinstance(end, BaseException):
            raise end
        else:
            found.append(end.outcome)
    return found


class Worker:
    """A process: one reporter, one lease manager, any number of attempts.

    Attributes:
        attempts: that it runs.
        is_suspended: whether it was stopped (SIGSTOP): it does nothing, and does not notice.
    """

    def __init__(self, runtime: Runtime, name: str, reported: Reported) -> None:
        self.attempts: list[SteppedAttempt] = []
        self.is_suspended = False
        self.cache = LossyCache(runtime.flusher_cache.download, reported)
        self.runtime = replace(
            runtime,
            worker=name,
            drain=Drain(),
            leases=LeaseManager(ttl=NEVER),
            # A heartbeat is always due: every flush reports every job.
            reporter=ProgressReporter(
                cast(DownloadCache, self.cache), flush_interval=NEVER, heartbeat_interval=0
            ),
        )

    def consume(self, job_id: str, sent_at: datetime | None = None) -> SteppedAttempt | None:
        """Claim the job of a message, as `run_job` does; None when there is nothing to do."""
        runtime = self.runtime
        stop = StopSignal(runtime.drain)
        lease = runtime.leases.acquire(runtime.cache.download_lock(job_id), stop)
        if lease is None:
            consume_message(runtime.jobs, job_id, sent_at)
            return None
        job = claim(runtime.jobs, job_id, worker=runtime.worker, now=runtime.now())
        if job is None:
            runtime.leases.release(lease)
            return None
        attempt = SteppedAttempt(runtime, job, lease, stop)
        self.attempts.append(attempt)
        return attempt

    def consume_together(
        self, job_ids: Sequence[str], sent_at: datetime | None = None
    ) -> list[SteppedAttempt]:
        """Lock and claim the jobs of one message at the same time; return the attempts that begin."""
        started = self.runtime.event_loop.run(self._start_all(job_ids, sent_at))
        attempts = [one for one in started if one is not None]
        self.attempts += attempts
        return attempts

    async def _start_all(
        self, job_ids: Sequence[str], sent_at: datetime | None
    ) -> list[SteppedAttempt | None]:
        return await asyncio.gather(*(self._start(job_id, sent_at) for job_id in job_ids))

    async def _start(self, job_id: str, sent_at: datetime | None) -> SteppedAttempt | None:
        runtime = self.runtime
        stop, lock = StopSignal(runtime.drain), runtime.cache.download_lock(job_id)
        lease = await runtime.store(runtime.leases.acquire_flow(lock, stop))
        if lease is None:
            await runtime.sql(ConsumeMessage(job_id, sent_at))
            return None
        job = await runtime.sql(Claim(job_id, runtime.worker, runtime.now()))
        if job is None:
            await Holdings(runtime, lease).give_back()
            return None
        return SteppedAttempt(runtime, job, lease, stop)

    def end_together(self, errors: Mapping[SteppedAttempt, SeenError | None]) -> None:
        """End attempts of different jobs at the same time."""
        for attempt in errors:
            self.attempts.remove(attempt)
        outcomes = self.runtime.event_loop.run(_end_all(errors))
        requeued = [
            attempt.job
            for attempt, outcome in zip(errors, outcomes, strict=True)
            if outcome is Outcome.REQUEUED
        ]
        self.runtime.publisher.publish(requeued, requeued=True)

    def step(self, attempt: SteppedAttempt, how: str, size: int = 0) -> Outcome | None:
        """Do one step of an attempt; return its outcome when it ended by that."""
        try:
            match how:
                case "write":
                    attempt.write(size)
                case "checkpoint":
                    attempt.checkpoint()
                case "restart":
                    attempt.restart()
                case _:
                    attempt.verify()
        except (FencedError, StoppedError) as error:
            return self.end(attempt, error)
        return None

    def end(self, attempt: SteppedAttempt, error: SeenError | None) -> Outcome:
        """End an attempt, as `run_job` does."""
        runtime = self.runtime
        self.attempts.remove(attempt)
        try:
            outcome = attempt.end(error)
        except DatabaseUnavailableError:
            outcome = Outcome.UNSAVED
        if outcome is Outcome.REQUEUED:
            runtime.publisher.publish([attempt.job], requeued=True)
        return outcome

    def flush(self, loses: str | None = None) -> None:
        """Report all attempts to the store; `loses` is "request" or "reply"."""
        self.cache.loses = loses
        self.runtime.reporter.flush()
        self.cache.loses = None

    def keep_alive(self) -> None:
        """Do what the threads of a process do all the time: renew leases and flush."""
        self.runtime.leases.renew_all()
        self.flush()

    def crash(self) -> None:
        """End as by SIGKILL: locks are not released, jobs are not requeued."""
        for attempt in self.attempts:
            self.runtime.reporter.untrack(attempt._tracker)
        self.attempts.clear()
        self.close()

    def close(self) -> None:
        """Stop the threads."""
        self.runtime.reporter.close()
        self.runtime.leases.close()
