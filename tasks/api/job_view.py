"""Jobs as they stand this moment: the store's live numbers where they are newer, SQL's otherwise."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from cache.downloads.download_cache import DownloadCache
from cache.models import DownloadProgress
from database import JobRepository
from domain.errors import StoreError, UnknownJobError
from domain.job import RUNNING, Job, JobEvent, JobStatus
from domain.text import printable
from domain.urls import display_url
from worker.storage.filenames import name_from_url

#: A row is read again at least this often, however fresh its hash is. Seconds.
_ROW_MAX_AGE = 2.0
#: A store that did not answer is left alone this long: waiting for it would hold up every look.
_STORE_RETRY_AFTER = 5.0


class JobView(NamedTuple):
    """One job: its row, and its progress from wherever it is newest."""

    job: Job
    progress: DownloadProgress

    @property
    def status(self) -> JobStatus:
        """Where it stands."""
        return self.progress.status

    @property
    def is_finished(self) -> bool:
        """Whether SQL says that nothing more happens by itself; the hash may know a moment earlier."""
        return self.job.is_finished

    @property
    def label(self) -> str:
        """What a person calls it: its file's name."""
        path = self.progress.path or self.job.path
        if path:
            return printable(path.rpartition("/")[2])
        return printable(self.job.name or name_from_url(self.job.url))

    @property
    def title(self) -> str:
        """Its name, or its URL without secrets."""
        return printable(self.job.name or display_url(self.job.url))


def merge(job: Job, progress: DownloadProgress | None) -> JobView:
    """Put a row and a hash together: the hash counts while its claim is at work, SQL otherwise."""
    if progress is not None and (
        progress.fence > job.fence or (progress.fence == job.fence and job.status in RUNNING)
    ):
        return JobView(job, progress)
    stored = DownloadProgress(
        job_id=job.id,
        status=job.status,
        user_id=job.user_id,
        bytes_downloaded=job.bytes_downloaded,
        bytes_durable=job.bytes_durable,
        bytes_total=job.bytes_total,
        download_speed_mbps=job.speed_mbps if job.status in RUNNING else 0.0,
        reason=job.reason,
        error_code=job.error_code,
        path=job.path,
        sha256=job.sha256,
        fence=job.fence,
        updated_at=job.updated_at,
    )
    return JobView(job, stored)


class JobReader:
    """Reads jobs again and again; a store that is away is just a miss.

    Attributes:
        store_error: why the store was not read the last time it was asked; None if it was.
    """

    def __init__(self, jobs: JobRepository, cache: DownloadCache) -> None:
        self.jobs = jobs
        self._cache = cache
        self._rows: dict[str, Job] = {}
        self._read_at: dict[str, float] = {}
        self._store_again_at = 0.0
        self.store_error: StoreError | None = None

    def read(self, job_ids: Sequence[str]) -> list[JobView]:
        """Return these jobs in this order: hashes first, rows where those do not tell.

        Raises:
            UnknownJobError: one of them is not there.
        """
        live = self._live(job_ids)
        now = time.monotonic()
        wanted = [job_id for job_id in job_ids if self._needs_row(job_id, live, now)]
        rows = self.jobs.get_many(wanted)
        for job_id in wanted:
            if job_id not in rows:
                raise UnknownJobError(job_id)
            self._rows[job_id], self._read_at[job_id] = rows[job_id], now
        return [merge(self._rows[job_id], live.get(job_id)) for job_id in job_ids]

    def views(self, jobs: Sequence[Job]) -> list[JobView]:
        """Return jobs that were just read from SQL with their live progress."""
        live = self._live([job.id for job in jobs if not job.is_finished])
        return [merge(job, live.get(job.id)) for job in jobs]

    def _needs_row(self, job_id: str, live: Mapping[str, DownloadProgress], now: float) -> bool:
        row, progress = self._rows.get(job_id), live.get(job_id)
        if row is None or progress is None or now - self._read_at[job_id] > _ROW_MAX_AGE:
            return True
        at_work = row.status in RUNNING and progress.status in RUNNING
        return not (at_work and progress.fence == row.fence)

    def _live(self, job_ids: Sequence[str]) -> dict[str, DownloadProgress]:
        if time.monotonic() < self._store_again_at:
            return {}
        try:
            found = self._cache.get_many(job_ids)
            self.store_error = None
            return found
        except StoreError as error:
            self.store_error = error
            self._store_again_at = time.monotonic() + _STORE_RETRY_AFTER
            return {}


def job_as_json(one: JobView) -> dict[str, Any]:
    """Return a job as programs read it; times in ISO 8601, URLs without their secrets.

    `hidden` names the headers, and the parts of a login, that are kept and not shown.
    """
    job, progress = one
    row: dict[str, Any] = {
        name: getattr(job, name)
        for name in (
            *("id", "directory", "name", "checksum", "user_id", "overwrite"),
            *("host", "max_bytes", "connections", "decode", "priority"),
            "ignore_origin_digests",
            *("attempts", "max_attempts", "fence", "worker", "control", "next_attempt_at"),
            *("published_at", "created_at", "started_at", "finished_at"),
        )
    }
    live = {
        "status": progress.status,
        "url": display_url(job.url),
        "mirrors": [display_url(url) for url in job.mirrors],
        "hidden": list(job.secret_names),
        "bytes_downloaded": progress.bytes_downloaded,
        "bytes_total": progress.bytes_total,
        "bytes_durable": progress.bytes_durable,
        "progress_percent": progress.progress_percent,
        "speed_mbps": progress.download_speed_mbps,
        "eta_seconds": progress.eta_seconds,
        "reason": progress.reason,
        "error_code": progress.error_code,
        "path": progress.path,
        "sha256": progress.sha256,
        "updated_at": progress.updated_at,
        "last_byte_at": progress.last_byte_at,
    }
    return plain(row | live)


def event_as_json(event: JobEvent) -> dict[str, Any]:
    """Return one entry of the audit trail as programs read it."""
    names = ("at", "from_status", "to_status", "worker", "fence", "attempt", "reason")
    return plain({name: getattr(event, name) for name in names})


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values as JSON has them."""
    return {k: v.isoformat() if hasattr(v, "isoformat") else v for k, v in values.items()}
