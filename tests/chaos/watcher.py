"""Looks at all live progress, again and again, and notes every number that cannot be true."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from cache import DownloadProgress
from domain.errors import DatabaseUnavailableError, StoreUnavailableError
from domain.job import RUNNING, Job
from tests.chaos.background import Background
from worker.runtime import Runtime

#: Seconds between two looks.
LOOK = 0.1


class Watcher(Background):
    """A thread that reads what people would be shown.

    Args:
        runtime: by which it reads.
        job_ids: says which jobs are under way.
        furthest: says how many bytes of a path the origin has sent.

    Attributes:
        findings: (job id, what was seen), each once.
        looks: how often it got an answer, of the database and of the store.
    """

    def __init__(
        self,
        runtime: Runtime,
        job_ids: Callable[[], Sequence[str]],
        furthest: Callable[[str], int],
    ) -> None:
        super().__init__("chaos-watcher", LOOK)
        self._runtime, self._job_ids, self._furthest = runtime, job_ids, furthest
        self._fences: dict[str, int] = {}
        self._live_fences: dict[str, int] = {}
        self._workers: dict[tuple[str, int], str] = {}
        self.findings: dict[tuple[str, str], None] = {}
        self.looks = 0

    def store_went_back(self) -> None:
        """The store may show older claims than before: it has lost what it knew."""
        self._live_fences = {}

    def step(self) -> None:
        """Look once; without database or store, the next time."""
        try:
            jobs = self._runtime.jobs.get_many(self._job_ids())
            for job in jobs.values():
                self.see_row(job)
            self.looks += 1
            live_fences = self._live_fences
            progresses = self._runtime.cache.download.get_many(list(jobs))
        except (DatabaseUnavailableError, StoreUnavailableError):
            return
        if live_fences is self._live_fences:  # else the store went back in between
            for progress in progresses.values():
                self.see_progress(jobs[progress.job_id], progress)
        self.looks += 1

    def see_row(self, job: Job) -> None:
        """Take in a job as SQL has it."""
        self._check_counts(job, "the row", job.bytes_durable, job.bytes_downloaded, job.bytes_total)
        self._check_rising(self._fences, job.id, job.fence, "the row")
        if job.worker is not None and job.status in RUNNING:
            known = self._workers.setdefault((job.id, job.fence), job.worker)
            if known != job.worker:
                self._find(job.id, f"claim {job.fence} belongs to {known} and to {job.worker}")

    def see_progress(self, job: Job, progress: DownloadProgress) -> None:
        """Take in a hash of the store."""
        durable, downloaded = progress.bytes_durable, progress.bytes_downloaded
        self._check_counts(job, "the hash", durable, downloaded, progress.bytes_total)
        self._check_rising(self._live_fences, job.id, progress.fence, "the hash")
        percent = progress.progress_percent
        if percent is not None and percent > 100:
            self._find(job.id, f"{percent} % done")

    def _check_counts(
        self, job: Job, where: str, durable: int, downloaded: int, total: int | None
    ) -> None:
        if durable > downloaded:
            self._find(job.id, f"{where} has {durable:,} bytes durable of {downloaded:,}")
        if total is not None and downloaded > total:
            self._find(job.id, f"{where} has {downloaded:,} bytes of {total:,}")
        # Asked for after the count was read: it only rises.
        sent = self._furthest(urlsplit(job.url).path)
        if downloaded > sent:
            self._find(job.id, f"{where} has {downloaded:,} bytes, the origin has sent {sent:,}")

    def _check_rising(self, fences: dict[str, int], job_id: str, fence: int, where: str) -> None:
        if fence < fences.get(job_id, 0):
            self._find(job_id, f"{where} has claim {fence} after claim {fences[job_id]}")
        fences[job_id] = fence

    def _find(self, job_id: str, what: str) -> None:
        self.findings[job_id, what] = None
