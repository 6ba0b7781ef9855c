"""Polls all live progress and records every impossible number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
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
        life: of a progress hash that nobody renews, in seconds.

    Attributes:
        findings: (job id, what was seen), each once.
        looks: how often it got an answer, of the database and of the store.
    """

    def __init__(
        self,
        runtime: Runtime,
        job_ids: Callable[[], Sequence[str]],
        furthest: Callable[[str], int],
        life: float,
    ) -> None:
        super().__init__("chaos-watcher", LOOK)
        self._runtime, self._job_ids, self._furthest = runtime, job_ids, furthest
        self._fences: dict[str, int] = {}
        self._life = timedelta(seconds=life)
        self._newest: dict[str, DownloadProgress] = {}
        self._workers: dict[tuple[str, int], str] = {}
        self.findings: dict[tuple[str, str], None] = {}
        self.looks = 0

    def store_went_back(self) -> None:
        """The store may show older claims than before: it has lost what it knew."""
        self._newest = {}

    def step(self) -> None:
        """Look once; without database or store, the next time."""
        try:
            jobs = self._runtime.jobs.get_many(self._job_ids())
            for job in jobs.values():
                self.see_row(job)
            self.looks += 1
            newest = self._newest
            progresses = self._runtime.cache.download.get_many(list(jobs))
        except (DatabaseUnavailableError, StoreUnavailableError):
            return
        if newest is self._newest:  # else the store went back in between
            for progress in progresses.values():
                self.see_progress(jobs[progress.job_id], progress)
        self.looks += 1

    def see_row(self, job: Job) -> None:
        """Take in a job as SQL has it."""
        self._check_counts(job, "the row", job.bytes_durable, job.bytes_downloaded, job.bytes_total)
        if job.fence < self._fences.get(job.id, 0):
            self._find(job.id, f"the row has claim {job.fence} after claim {self._fences[job.id]}")
        self._fences[job.id] = job.fence
        if job.worker is not None and job.status in RUNNING:
            known = self._workers.setdefault((job.id, job.fence), job.worker)
            if known != job.worker:
                self._find(job.id, f"claim {job.fence} belongs to {known} and to {job.worker}")

    def see_progress(self, job: Job, progress: DownloadProgress) -> None:
        """Take in a hash of the store."""
        durable, downloaded = progress.bytes_durable, progress.bytes_downloaded
        self._check_counts(job, "the hash", durable, downloaded, progress.bytes_total)
        self._check_claim(job, progress)
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

    def _check_claim(self, job: Job, progress: DownloadProgress) -> None:
        """An older claim does not replace what a newer one has told, as long as that lives.

        What is told by way of a silent line may arrive when it does not any more. Then nobody is shown
        it, since the row has the newer claim.
        """
        newest = self._newest.get(job.id)
        if newest is None or progress.fence >= newest.fence:
            self._newest[job.id] = progress
            return
        assert newest.updated_at is not None
        assert progress.updated_at is not None
        what = f"the hash has claim {progress.fence} after claim {newest.fence}"
        if progress.updated_at < newest.updated_at + self._life:
            self._find(job.id, f"{what}, which was told {newest.updated_at:%H:%M:%S.%f}")
        if progress.fence >= job.fence:
            self._find(job.id, f"{what}, and is shown")

    def _find(self, job_id: str, what: str) -> None:
        self.findings[job_id, what] = None
