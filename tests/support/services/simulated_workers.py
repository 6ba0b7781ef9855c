"""Simulated workers without a transfer: a test decides when they write, pause, crash and go on.

Lock, claim, lease, reporter, settlement and the decisions of `worker.runner` are the real ones. What is
left out is the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import cast

from cache import DownloadCache
from cache.downloads.progress_hash import ProgressUpdate, UpdateReply
from cache.models import version
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
from worker.attempt import Attempt
from worker.leases.drain import Drain
from worker.leases.lease import Lease, LeaseManager
from worker.leases.stop_signal import StopSignal
from worker.outcome import Outcome
from worker.progress.reporter import AttemptResult, ProgressReporter
from worker.runtime import Runtime

#: Longer than any test: threads of a process do nothing by themselves.
NEVER = 3600.0
#: Bytes of every file.
TOTAL = 1000


class Told:
    """What claims have told the store: the count that belongs to each job and version."""

    def __init__(self) -> None:
        self.counts: dict[tuple[str, int], int] = {}

    def note(self, updates: Sequence[ProgressUpdate]) -> None:
        """Note updates that are on their way."""
        for update in updates:
            self.counts[update.job_id, update.version] = update.counts.downloaded

    def of(self, job_id: str, fence: int, sequence: int) -> int | None:
        """Return what a claim said in this update, or None when it said no such thing."""
        return self.counts.get((job_id, version(fence, sequence)))


class Wire:
    """The way of a reporter to the store, which can lose one message, or the answer to it."""

    def __init__(self, cache: DownloadCache, told: Told) -> None:
        self._cache = cache
        self._told = told
        self.loses: str | None = None

    def apply(
        self, updates: Sequence[ProgressUpdate], listening: Sequence[tuple[str, int]] = ()
    ) -> list[UpdateReply]:
        """Send updates, unless they get lost."""
        loses, self.loses = self.loses, None
        if loses == "request":
            raise StoreUnavailableError("lost on its way")
        self._told.note(updates)
        replies: list[UpdateReply] = self._cache.apply(updates, listening)
        if loses == "answer":
            raise StoreUnavailableError("no answer")
        return replies


class SteppedAttempt(Attempt):
    """One claim of one job whose transfer a test makes, step by step."""

    def __init__(self, runtime: Runtime, job: Job, lease: Lease, stop: StopSignal) -> None:
        super().__init__(runtime, job, lease, stop)
        self.job, self.lease, self.stop = job, lease, stop
        self._error: SeenError | None = None
        set_counts(self._tracker, total=TOTAL)

    @property
    def is_verifying(self) -> bool:
        """Whether its file is whole, and the job was still its own when that was asked."""
        return self._tracker.status is JobStatus.VERIFYING

    def replaces(self, other: SteppedAttempt) -> bool:
        """Whether this is a newer claim of the same job."""
        return self.job.id == other.job.id and self.job.fence > other.job.fence

    def write(self, size: int) -> None:
        """Write so many bytes, as long as the lease lets it; raise LeaseLostError when it does not."""
        self.lease.check()
        tracker = self._tracker
        set_counts(tracker, downloaded=min(TOTAL, tracker.counts.downloaded + size))

    def checkpoint(self) -> None:
        """Make durable what was written."""
        self.lease.check()
        set_counts(self._tracker, durable=self._tracker.counts.downloaded)

    def begin_anew(self) -> None:
        """Find that the file has changed at its origin."""
        self.lease.check()
        self._tracker.restart(ByteCounts(total=self._tracker.counts.total))

    def verify(self) -> None:
        """Get to the end of the file, and ask for the fence and for what a person wants."""
        self.write(TOTAL)
        self._mark_verifying()
        self.lease.check()

    def end(self, error: SeenError | None) -> Outcome:
        """Come to an end, by an error or, once verified, with the file."""
        self._error = error
        return self.run()

    def _download(self) -> Outcome:
        if self._error is not None:
            raise self._error
        set_counts(self._tracker, durable=TOTAL)
        end = AttemptResult(status=JobStatus.COMPLETED, path=f"/x/{self.job.id}", sha256="ab" * 32)
        return self._end.finish(end)


class Worker:
    """A process: one reporter, one lease manager, any number of attempts.

    Attributes:
        attempts: that it works on.
        stands_still: whether it was stopped (SIGSTOP): it does nothing, and does not notice.
    """

    def __init__(self, runtime: Runtime, name: str, told: Told) -> None:
        self.attempts: list[SteppedAttempt] = []
        self.stands_still = False
        self.wire = Wire(runtime.flusher_cache.download, told)
        self.runtime = replace(
            runtime,
            worker=name,
            drain=Drain(),
            leases=LeaseManager(ttl=NEVER),
            # Every flush tells of every job: as if each had something new, or a heartbeat was due.
            reporter=ProgressReporter(
                cast(DownloadCache, self.wire), flush_interval=NEVER, heartbeat_interval=0
            ),
        )

    def take(self, job_id: str, sent_at: datetime | None = None) -> SteppedAttempt | None:
        """Take a job by a message, as `run_download` does; None when there is nothing to do."""
        runtime = self.runtime
        stop = StopSignal(runtime.drain)
        lease = runtime.leases.acquire(runtime.cache.download_lock(job_id), stop)
        if lease is None:
            runtime.jobs.mark_message_consumed(job_id, sent_at)
            return None
        job = runtime.jobs.claim(job_id, worker=runtime.worker, now=runtime.now())
        if job is None:
            runtime.leases.release(lease)
            return None
        attempt = SteppedAttempt(runtime, job, lease, stop)
        self.attempts.append(attempt)
        return attempt

    def step(self, attempt: SteppedAttempt, how: str, size: int = 0) -> Outcome | None:
        """Bring an attempt on; return how it ended when this was its end."""
        try:
            match how:
                case "write":
                    attempt.write(size)
                case "checkpoint":
                    attempt.checkpoint()
                case "begin anew":
                    attempt.begin_anew()
                case _:
                    attempt.verify()
        except (FencedError, StoppedError) as error:
            return self.end(attempt, error)
        return None

    def end(self, attempt: SteppedAttempt, error: SeenError | None) -> Outcome:
        """Let an attempt end, as `run_download` does."""
        runtime = self.runtime
        self.attempts.remove(attempt)
        try:
            outcome = attempt.end(error)
        except DatabaseUnavailableError:
            outcome = Outcome.UNSAVED
        finally:
            runtime.leases.release(attempt.lease)
        if outcome is Outcome.REQUEUED:
            runtime.publisher.republish(attempt.job.id)
        return outcome

    def flush(self, loses: str | None = None) -> None:
        """Tell the store how far everything is; the request or the answer may get lost."""
        self.wire.loses = loses
        self.runtime.reporter.flush()
        self.wire.loses = None

    def keep_alive(self) -> None:
        """Do what the threads of a process do all the time."""
        self.runtime.leases.renew_all()
        self.flush()

    def fall(self) -> None:
        """End as by SIGKILL: without a word, and without a hand back on its locks."""
        for attempt in self.attempts:
            self.runtime.reporter.untrack(attempt._tracker)
        self.attempts.clear()
        self.close()

    def close(self) -> None:
        """Stop the threads."""
        self.runtime.reporter.close()
        self.runtime.leases.close()
