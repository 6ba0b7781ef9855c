"""A job's row and its progress hash, as a view joins them."""

from __future__ import annotations

from datetime import UTC, datetime

from cache.models import DownloadProgress
from domain.job import Job, JobStatus

NOW = datetime(2026, 1, 2, tzinfo=UTC)
JOB_ID = "01a205a2-8d4a-7189-808b-c3a4c179e67d"


def job(status: JobStatus, **changes: object) -> Job:
    values: dict[str, object] = {
        "id": JOB_ID,
        "url": "https://example.com/a/film.mkv?token=secret",
        "directory": "",
        "status": status,
        "max_attempts": 3,
        "created_at": NOW,
        "updated_at": NOW,
        "fence": 2,
        "bytes_downloaded": 10,
    }
    return Job(**(values | changes))  # type: ignore[arg-type]


def live(fence: int, **changes: object) -> DownloadProgress:
    values: dict[str, object] = {
        "job_id": JOB_ID,
        "status": JobStatus.DOWNLOADING,
        "fence": fence,
        "bytes_downloaded": 1_500_000,
        "bytes_total": 2_000_000,
        "download_speed_mbps": 8.0,
    }
    return DownloadProgress.model_validate(values | changes)
