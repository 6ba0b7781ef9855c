"""What always holds in the simulated service, whatever breaks."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from hypothesis.stateful import invariant

from cache import DownloadProgress
from domain.job import FINISHED, RUNNING, TRANSITIONS, Job, JobEvent, JobStatus
from tests.support.histories import claims_in
from tests.support.recovery.service import SimulatedService
from tests.support.recovery.workers import TOTAL, SteppedAttempt

S = JobStatus


class Traces(NamedTuple):
    """What SQL and the store have of a job."""

    row: Job
    history: tuple[JobEvent, ...]
    progress: DownloadProgress | None


class Invariants(SimulatedService):
    """The service with its invariants; each is checked after every rule."""

    @invariant()
    def histories_are_legal(self) -> None:
        for job_id in self.ids:
            job, history = self.runtime.jobs.get(job_id), self.runtime.jobs.events(job_id)
            for before, after in pairwise(history):
                is_note = after.from_status is after.to_status
                assert after.from_status is before.to_status
                assert is_note or after.to_status in TRANSITIONS[before.to_status]
                assert after.fence == before.fence + claims_in(after)
            assert (history[-1].to_status, history[-1].fence) == (job.status, job.fence)

    @invariant()
    def one_process_at_a_time_may_write(self) -> None:
        """Also after data loss in the store: a lease ends on its holder's own clock."""
        for job_id in self.ids:
            writers = [
                (worker.runtime.worker, attempt.job.fence)
                for worker in self.workers
                for attempt in worker.attempts
                if attempt.job.id == job_id and attempt.lease.is_alive()
            ]
            assert len(writers) <= 1, writers

    @invariant()
    def progress_is_what_the_newest_claim_reported(self) -> None:
        for job_id, progress in self._progress().items():
            reported = self.reported.of(job_id, progress.fence, progress.sequence)
            assert progress.bytes_downloaded == reported
            assert progress.bytes_downloaded <= TOTAL
            assert progress.fence >= self.newest.get(job_id, 0)
            self.newest[job_id] = progress.fence

    @invariant()
    def rows_change_only_as_allowed(self) -> None:
        for job_id, job in self.runtime.jobs.get_many(self.ids).items():
            before = self.rows.get(job_id)
            if before is not None:
                self._check_change(before, job)
            assert job.bytes_durable <= job.bytes_downloaded <= TOTAL
            assert (job.status in FINISHED) == (job.finished_at is not None)
            self.rows[job_id] = job
        self.just_controlled.clear()

    def _check_change(self, before: Job, job: Job) -> None:
        assert job.fence >= before.fence
        if job.id in self.just_controlled:
            return
        if before.status in FINISHED:
            unchanged = ("status", "fence", "bytes_downloaded", "path", "reason", "attempts")
            assert all(getattr(job, name) == getattr(before, name) for name in unchanged)
        if before.control and job.status not in RUNNING:
            # It may end before its worker reads the control request; it may not continue.
            requested = {"cancel": S.CANCELLED, "pause": S.PAUSED}[before.control]
            assert job.status in {requested, S.COMPLETED, S.FAILED}

    def _traces(self, job_id: str) -> Traces:
        jobs, progress = self.runtime.jobs, self._progress().get(job_id)
        return Traces(jobs.get(job_id), tuple(jobs.events(job_id)), progress)

    def _check_old_claim(
        self, attempt: SteppedAttempt, before: Traces, after: Traces, *, expired: bool
    ) -> None:
        """An old claim changes nothing, and no progress hash changes once the lease has expired."""
        if before.row.fence > attempt.job.fence:
            assert (after.row, after.history) == (before.row, before.history)
            if before.progress is not None and before.progress.fence > attempt.job.fence:
                assert after.progress == before.progress
        if expired:
            assert after.progress == before.progress

    def _check_ends(self) -> None:
        """After the repair every job has ended, or is paused because a person paused it."""
        for job_id, job in self.runtime.jobs.get_many(self.ids).items():
            allowed = FINISHED
            if job_id in self.pause_requested:
                allowed = FINISHED | {S.PAUSED}
            assert job.status in allowed, (job.status, job.reason)
        assert self._left_in_store() == []
