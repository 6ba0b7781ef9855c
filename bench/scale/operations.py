"""What is measured: each operation of the service on SQL, by name."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta

import tasks
from cache.downloads.progress_hash import ProgressUpdate
from database.changes import Change
from database.clock_skew import correct_future_times
from database.operations import Claim, RequeueForSlot, Transition
from database.retention import Retention
from domain.job import UNFINISHED, Job, JobFilter, JobStatus, Priority
from tasks.api.job_view import JobReader
from tasks.periodic.maintenance import requeue_due
from tasks.periodic.persist import persist_progress
from tasks.periodic.reconcile import reconcile
from tests.support.build import update
from worker.runtime import Runtime

S = JobStatus
_USERS = (None, "user0.example", "rare")
_HOSTS = (None, "host0.example", "rare.example")
GROUP = 64


@dataclass(slots=True)
class Operations:
    """Prepares and measures operations on one database."""

    runtime: Runtime
    _numbers: Iterator[int]

    def measured(self) -> dict[str, float]:
        """Return by name how many milliseconds each operation takes: the best of three."""
        return {name: min(measure() for _ in range(3)) for name, measure in self._all().items()}

    def _all(self) -> dict[str, Callable[[], float]]:
        jobs = self.runtime.jobs
        operations: dict[str, Callable[[], float]] = {
            "submit 1": lambda: self._submit(1),
            "submit 1,000": lambda: self._submit(1000),
            "claim 1": lambda: self._claim(1)[0],
            f"claim {GROUP}": lambda: self._claim(GROUP)[0],
            "verify and end 1": lambda: self._end(1),
            f"verify and end {GROUP}": lambda: self._end(GROUP),
            "persist 1,000 hashes": self._persist,
            **{f"list, {name}": _timed(call) for name, call in self._lists().items()},
            "counts": _timed(jobs.count_by_status),
            "count_ahead": _timed(lambda: jobs.count_ahead(self._newest())),
            "show with history": _timed(self._show),
            "requeue_due": _timed(lambda: requeue_due(self.runtime)),
            "requeue for a slot": _timed(self._requeue_for_slot),
            "reconcile": _timed(lambda: reconcile(self.runtime)),
            **{f"reconcile: {name}": _timed(call) for name, call in self._steps().items()},
            "others queued": _timed(lambda: jobs.has_queued_of_others("user_id", "user0.example")),
            "sweep: unfinished with bytes": _timed(lambda: jobs.inactive_with_progress("", 500)),
            "purge 500": _timed(self._purge_batch),
        }
        return operations

    # ── changes ─────────────────────────────────────────────────────────────────────────────────

    def _submit(self, count: int) -> float:
        requests = [
            tasks.DownloadRequest(url=f"http://127.0.0.1:9/{next(self._numbers)}")
            for _ in range(count)
        ]
        return _timed(lambda: tasks.submit_many(requests, runtime=self.runtime))()

    def _claim(self, count: int) -> tuple[float, list[Job]]:
        jobs, now = self.runtime.jobs, self.runtime.now()
        queued = jobs.find(JobFilter(S.QUEUED), limit=count)
        claims = [Claim(job.id, "downloads@bench", now) for job in queued]
        claimed: list[Job] = []
        return _timed(lambda: claimed.extend(jobs.perform(claims)))(), claimed

    def _end(self, count: int) -> float:
        jobs, now = self.runtime.jobs, self.runtime.now()
        _, claimed = self._claim(count)

        def end() -> None:
            verifying = [Transition(job, Change(S.VERIFYING, now, None, {})) for job in claimed]
            verified = jobs.perform(verifying)
            jobs.perform([Transition(job, Change(S.COMPLETED, now, None, {})) for job in verified])

        return _timed(end)()

    def _persist(self) -> float:
        download = self.runtime.cache.download
        running = self.runtime.jobs.find(JobFilter(S.DOWNLOADING), limit=1000)
        updates: list[ProgressUpdate] = [
            update(job_id=job.id, fence=job.fence, sequence=next(self._numbers), bytes_downloaded=1)
            for job in running
        ]
        download.apply(updates)
        return _timed(lambda: persist_progress(self.runtime))()

    def _requeue_for_slot(self) -> None:
        freed = RequeueForSlot("rare.example", "rare", self.runtime.now())
        self.runtime.jobs.perform([freed])

    def _purge_batch(self) -> None:
        long_ago = self.runtime.now() - timedelta(days=19)
        Retention(self.runtime.database).delete_some(long_ago)

    # ── reading ─────────────────────────────────────────────────────────────────────────────────

    def _newest(self) -> Job:
        return self.runtime.jobs.find(JobFilter(S.QUEUED), limit=1)[0]

    def _show(self) -> None:
        reader = JobReader(self.runtime.jobs, self.runtime.cache.download)
        job = self._newest()
        reader.read([job.id])
        reader.events(job.id)
        reader.short_ids([job.id])

    def _lists(self) -> dict[str, Callable[[], object]]:
        """Return lists by name; many filters together, since each alone takes milliseconds."""
        find, overview = self.runtime.jobs.find, self.runtime.jobs.overview
        later = find(JobFilter(S.COMPLETED), limit=500)[-1].id
        both = [JobFilter(None, "user0.example", "rare.example")]
        one = [
            JobFilter(status, user, host)
            for status, user, host in itertools.product((None, S.FAILED, S.QUEUED), _USERS, _HOSTS)
            if user is None or host is None
        ]
        return {
            "newest": find,
            "a later page": lambda: find(before_id=later),
            f"{len(one)} filters, first page": lambda: [find(where) for where in one],
            f"{len(one)} filters, a later page": lambda: [
                find(where, before_id=later) for where in one
            ],
            "user and host": lambda: [find(where) for where in both],
            "unfinished, 500": lambda: find(statuses=sorted(UNFINISHED), limit=500),
            "overview": overview,
            f"{len(one)} filters, overview": lambda: [overview(where) for where in one],
        }

    def _steps(self) -> dict[str, Callable[[], object]]:
        jobs, now = self.runtime.jobs, self.runtime.now()
        ago = now - timedelta(seconds=5)
        return {
            "times in the future": lambda: correct_future_times(self.runtime.database, now, 3600),
            "quiet jobs": lambda: jobs.running_not_updated_since(now, limit=500),
            "unpublished": lambda: jobs.unpublished(ago, limit=500),
            "messages sent before": lambda: [
                jobs.published_before(now - timedelta(days=30), one, limit=500)
                for one in (None, *Priority)
            ],
            "pending controls": jobs.pending_controls,
        }


def _timed(call: Callable[[], object]) -> Callable[[], float]:
    def measure() -> float:
        started = time.perf_counter()
        call()
        return (time.perf_counter() - started) * 1000

    return measure


def purging(runtime: Runtime, count: int) -> float:
    """Return the seconds in which the oldest jobs are purged, batch by batch."""
    retention, before = Retention(runtime.database), runtime.now() - timedelta(minutes=5)
    started, purged = time.perf_counter(), 0
    while purged < count:
        purged += len(retention.delete_some(before).job_ids)
    return time.perf_counter() - started
