"""Read jobs: one job, a page of them, or the same jobs again and again.

A `JobView` joins the two records of a job: its row in SQL and its progress hash in the store.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Self

from cache.downloads.download_cache import DownloadCache
from cache.models import DownloadProgress
from database import JobRepository
from database.job_pages import JobPage, PageQuery
from domain.errors import StoreError, UnknownJobError
from domain.ids import id_range, shared_length
from domain.job import FINISHED, RUNNING, Job, JobEvent, JobFilter, JobStamp, JobStatus
from domain.limits import HOST_BUSY, TOTAL_BUSY, USER_BUSY
from domain.remedies.disks import DISK_SILENT
from domain.text import printable
from domain.urls import display_url, distinguishing_query
from worker.storage.filenames import name_from_url

if TYPE_CHECKING:  # loads Celery, which reading does not need
    from worker.runtime import Runtime

#: A row is read again at least this often, however new its progress hash is. Seconds.
_ROW_MAX_AGE = 2.0
#: After a failed read the store is not asked again for this long, so that a poll does not wait for it.
_STORE_RETRY_AFTER = 5.0

#: Characters of an id that are shown at least.
_SHORTEST_ID = 8

#: The states a job does not leave unless a person asks for it.
IDLE = FINISHED | {JobStatus.PAUSED}


class WaitingFor(StrEnum):
    """What a job in the state WAITING waits for."""

    RETRY = "retry"
    """Its next attempt, after a transient error."""
    HOST_SLOT = "host_slot"
    """A slot of its host."""
    HOST_COOLDOWN = "host_cooldown"
    """The end of its host's cooldown."""
    USER_SLOT = "user_slot"
    """A slot of its owner."""
    TOTAL_SLOT = "total_slot"
    """A slot of all downloads."""
    DISK_SPACE = "disk_space"
    """Room on the worker's disk."""
    DISK = "disk"
    """The worker's disk, which cannot be used now."""
    PART_FILE = "part_file"
    """Its part file, which another process has locked."""
    WORKER_RESOURCES = "worker_resources"
    """File descriptors, memory or threads of a worker."""


_WAITING_FOR_BY_ERROR_CODE: Mapping[str | None, WaitingFor] = {
    HOST_BUSY: WaitingFor.HOST_SLOT,
    "host_cooling": WaitingFor.HOST_COOLDOWN,
    USER_BUSY: WaitingFor.USER_SLOT,
    TOTAL_BUSY: WaitingFor.TOTAL_SLOT,
    "disk_full": WaitingFor.DISK_SPACE,
    "disk_unavailable": WaitingFor.DISK,
    "part_file_busy": WaitingFor.PART_FILE,
    "worker_resources": WaitingFor.WORKER_RESOURCES,
}


@dataclass(frozen=True, slots=True)
class JobView:
    """A job and its newest progress.

    Attributes:
        job: the row in SQL.
        progress: from the store while a worker runs the job, else from the row.
        shows_urls: `label` is the whole URL.
    """

    job: Job
    progress: DownloadProgress
    shows_urls: bool = False

    @classmethod
    def merge(
        cls, job: Job, progress: DownloadProgress | None, *, shows_urls: bool = False
    ) -> Self:
        """Join a row and a progress hash. The hash counts while its claim is running, else the row."""
        if progress is not None and (
            progress.fence > job.fence or (progress.fence == job.fence and job.status in RUNNING)
        ):
            return cls(job, progress, shows_urls)
        return cls(job, _stored_progress(job), shows_urls)

    @property
    def status(self) -> JobStatus:
        """The newest known state."""
        return self.progress.status

    @property
    def is_finished(self) -> bool:
        """Whether SQL has it as finished; the store may know of it a moment earlier."""
        return self.job.is_finished

    @property
    def is_idle(self) -> bool:
        """Whether SQL has it as finished or paused."""
        return self.job.status in IDLE

    @property
    def waiting_for(self) -> WaitingFor | None:
        """What it waits for; None unless its state is WAITING."""
        if self.status is not JobStatus.WAITING:
            return None
        return _WAITING_FOR_BY_ERROR_CODE.get(self.progress.error_code, WaitingFor.RETRY)

    @property
    def has_silent_disk(self) -> bool:
        """Whether it runs, and its disk does not answer; its reason names the folder."""
        return self.status in RUNNING and self.progress.error_code == DISK_SILENT

    @property
    def seconds_to_next_attempt(self) -> float:
        """Seconds until a waiting job is queued again; 0 when that is due, or not planned."""
        when = self.job.next_attempt_at
        return 0.0 if when is None else max(0.0, (when - datetime.now(UTC)).total_seconds())

    @property
    def url(self) -> str:
        """Its URL as requested; of a secret one only scheme and host."""
        return self._shown(self.job.url)

    @property
    def mirrors(self) -> list[str]:
        """Its mirrors, as `url`."""
        return [self._shown(url) for url in self.job.mirrors]

    def _shown(self, url: str) -> str:
        return display_url(url, secret=self.job.secret_url, whole=True)

    @property
    def label(self) -> str:
        """The name of its file: as published, as requested, or as its URL suggests.

        A name that its URL suggests has the URL's query, too, without its secrets: the origin may give
        one name to the files of many queries.
        """
        if self.shows_urls:
            return printable(self.url)
        job = self.job
        path = self.progress.path or job.path
        if path:
            return printable(path.rpartition("/")[2])
        if job.secret_url and not job.name:
            return self.url.partition("//")[2]
        return self._label_with_query() or printable(job.name or name_from_url(job.url))

    @property
    def lasting_label(self) -> str:
        """As `label`, but with the URL's query also once its file is published.

        It stands beside the file's path, which does not say from which query the file came.
        """
        return self.label if self.shows_urls else self._label_with_query() or self.label

    def _label_with_query(self) -> str:
        """Return the name that the URL suggests with its query; empty where there is none to show."""
        job = self.job
        query = "" if job.name or job.secret_url else distinguishing_query(job.url)
        return printable(f"{name_from_url(job.url)}?{query}") if query else ""


def _stored_progress(job: Job) -> DownloadProgress:
    """Return the progress that a row holds."""
    return DownloadProgress(
        job_id=job.id,
        status=job.status,
        user_id=job.user_id,
        **job.counts.as_fields(),
        download_speed_mbps=job.speed_mbps if job.status in RUNNING else 0.0,
        reason=job.reason,
        error_code=job.error_code,
        path=job.path,
        sha256=job.sha256,
        fence=job.fence,
        updated_at=job.updated_at,
    )


class JobReader:
    """Reads jobs, also in a loop: it keeps rows for 2 s while the progress hash is newer.

    Without the store it returns what SQL has.

    Attributes:
        store_error: why the last read of the store failed; None if it did not.
    """

    def __init__(
        self, jobs: JobRepository, cache: DownloadCache, *, shows_urls: bool = False
    ) -> None:
        self._jobs = jobs
        self._cache = cache
        self._shows_urls = shows_urls
        self._rows: dict[str, Job] = {}
        self._read_at: dict[str, float] = {}
        self._store_retry_at = 0.0
        self.store_error: StoreError | None = None

    def read(self, job_ids: Sequence[str], *, skip_missing: bool = False) -> list[JobView]:
        """Return these jobs in this order.

        Args:
            job_ids: which ones.
            skip_missing: leave out those that do not exist.

        Raises:
            UnknownJobError: one of them does not exist.
            DatabaseUnavailableError: a row is needed and the database does not answer.
        """
        known = [job_id for job_id in job_ids if job_id in self._rows]
        self._read_rows([job_id for job_id in job_ids if job_id not in self._rows])
        running = [job_id for job_id in job_ids if self._is_running(job_id)]
        # Without a running job one is read all the same: `store_error` says whether any can start.
        live = self._read_store(running or self._unfinished(job_ids)[:1])
        self._refresh([job_id for job_id in known if self._may_be_old(job_id, live)])
        missing = [job_id for job_id in job_ids if job_id not in self._rows]
        if missing and not skip_missing:
            raise UnknownJobError(missing[0])
        views = [self._view(self._rows[one], live) for one in job_ids if one in self._rows]
        for view in views:
            if view.is_finished:  # it is not read in a loop
                self._forget(view.job.id)
        return views

    def take(self, jobs: Iterable[Job]) -> list[JobView]:
        """Return jobs that were stored or read just now, and spare the first `read` to read them."""
        rows, now = {job.id: job for job in jobs}, time.monotonic()
        self._rows |= rows
        self._read_at |= dict.fromkeys(rows, now)
        return [self._view(row, {}) for row in rows.values()]

    def _read_rows(self, job_ids: Sequence[str]) -> None:
        now = time.monotonic()
        for job_id, row in self._jobs.get_many(job_ids).items():
            self._rows[job_id], self._read_at[job_id] = row, now

    def _refresh(self, job_ids: Sequence[str]) -> None:
        """Read those rows again that have changed."""
        if not job_ids:
            return
        now = time.monotonic()
        stamps = self._jobs.stamps(job_ids)
        changed = []
        for job_id in job_ids:
            if job_id not in stamps:
                self._forget(job_id)
            elif JobStamp.of(self._rows[job_id]) != stamps[job_id]:
                changed.append(job_id)
            else:
                self._read_at[job_id] = now
        self._read_rows(changed)

    def _forget(self, job_id: str) -> None:
        self._rows.pop(job_id, None)
        self._read_at.pop(job_id, None)

    def find(
        self,
        where: JobFilter | None = None,
        *,
        limit: int = 50,
        before_id: str | None = None,
    ) -> list[JobView]:
        """Return jobs, the newest first; see `list_jobs`."""
        return self.merge(self._jobs.find(where or JobFilter(), before_id=before_id, limit=limit))

    def merge(self, jobs: Sequence[Job]) -> list[JobView]:
        """Return rows that were read just now with their newest progress, in the same order."""
        live = self._read_store([job.id for job in jobs if not job.is_finished])
        return [self._view(job, live) for job in jobs]

    def page(self, wanted: PageQuery) -> JobPage:
        """Return a page of jobs, to be merged with their progress."""
        return self._jobs.page(wanted)

    def overview(self, where: JobFilter | None = None, *, limit: int = 50) -> list[JobView]:
        """Return running jobs, then waiting, queued, paused and at last the newest finished ones."""
        return self.merge(self._jobs.overview(where or JobFilter(), limit=limit))

    def find_prefix(self, prefix: str, *, limit: int = 2) -> list[Job]:
        """Return jobs whose ids begin with `prefix` (`domain.ids.id_range`), the newest first."""
        bounds = id_range(prefix)
        return [] if bounds is None else self._jobs.with_prefix(*bounds, limit=limit)

    def short_ids(self, job_ids: Sequence[str]) -> dict[str, str]:
        """Return by id its beginning, of one length for all, that fits no other job that there is."""
        length = _SHORTEST_ID
        for job_id, others in self._jobs.neighbours(job_ids).items():
            length = max(length, *(shared_length(job_id, other) + 1 for other in others), 0)
        return {job_id: job_id[:length].rstrip("-") for job_id in job_ids}

    def events(self, job_id: str) -> list[JobEvent]:
        """Return the history of a job, the oldest event first; empty for an unknown one."""
        return self._jobs.events(job_id)

    def count_by_status(self) -> dict[JobStatus, int]:
        """Return how many jobs SQL has in each state."""
        return self._jobs.count_by_status()

    def _view(self, job: Job, live: Mapping[str, DownloadProgress]) -> JobView:
        return JobView.merge(job, live.get(job.id), shows_urls=self._shows_urls)

    def _is_running(self, job_id: str) -> bool:
        row = self._rows.get(job_id)
        return row is not None and row.status in RUNNING

    def _unfinished(self, job_ids: Sequence[str]) -> list[str]:
        return [one for one in job_ids if one in self._rows and not self._rows[one].is_finished]

    def _may_be_old(self, job_id: str, live: Mapping[str, DownloadProgress]) -> bool:
        progress = live.get(job_id)
        if progress is None or time.monotonic() - self._read_at[job_id] > _ROW_MAX_AGE:
            return True
        return progress.status not in RUNNING or progress.fence != self._rows[job_id].fence

    def _read_store(self, job_ids: Sequence[str]) -> dict[str, DownloadProgress]:
        if time.monotonic() < self._store_retry_at:
            return {}
        if not job_ids:
            return {}
        try:
            found = self._cache.get_many(job_ids)
            self.store_error = None
            return found
        except StoreError as error:
            self.store_error = error
            self._store_retry_at = time.monotonic() + _STORE_RETRY_AFTER
            return {}


def show(job_id: str, *, runtime: Runtime | None = None) -> JobView:
    """Return one job.

    Raises:
        UnknownJobError: it does not exist.
        DatabaseUnavailableError: the database does not answer.
    """
    runtime = runtime or _current_runtime()
    return JobReader(runtime.jobs, runtime.cache.download).read([job_id])[0]


def list_jobs(
    where: JobFilter | None = None,
    *,
    limit: int = 50,
    before_id: str | None = None,
    runtime: Runtime | None = None,
) -> list[JobView]:
    """Return a page of jobs, the newest first.

    Args:
        where: which jobs; all by default.
        limit: the size of a page.
        before_id: the last id of the page before this one.
        runtime: of this process.

    Raises:
        DatabaseUnavailableError: the database does not answer.
    """
    runtime = runtime or _current_runtime()
    reader = JobReader(runtime.jobs, runtime.cache.download)
    return reader.find(where, limit=limit, before_id=before_id)


def history(job_id: str, *, runtime: Runtime | None = None) -> list[JobEvent]:
    """Return the events of a job, the oldest first; empty for an unknown one.

    Raises:
        DatabaseUnavailableError: the database does not answer.
    """
    runtime = runtime or _current_runtime()
    return JobReader(runtime.jobs, runtime.cache.download).events(job_id)


def _current_runtime() -> Runtime:
    from worker.app import current_runtime  # loads Celery, which other readers do not need

    return current_runtime()
