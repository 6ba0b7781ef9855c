"""Small things most tests need: settings for a test's store, and jobs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from cache import CacheManager, DownloadProgress, SessionData
from cache.downloads.progress_hash import ProgressUpdate
from cache.manager import CLIENT_SIDE_FAMILIES
from domain.byte_counts import ByteCounts
from domain.ids import new_job_id
from domain.job import Job, JobStatus
from settings import Settings
from tests.support.stores.server import StoreServer

#: A moment with microseconds, so that a store that drops them is noticed.
NOW = datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=UTC)

_numbers = count()

#: Makes a manager on a store, as `cache_manager` does, of the side that a test runs on.
Connect = Callable[..., CacheManager]


def cache_settings(store: StoreServer, **changes: Any) -> Settings:
    """Settings for the cache on `store`, with timeouts a test can wait for."""
    values: dict[str, Any] = {
        "cache_addr": store.addr,
        "cache_password": store.password,
        "cache_timeout": 5.0,
        "cache_connect_timeout": 5.0,
        "cache_budget": 5.0,
    }
    return Settings(**(values | changes))


def cache_manager(
    store: StoreServer,
    *,
    retries: int = 0,
    client_side_families: Sequence[str] = CLIENT_SIDE_FAMILIES,
    **changes: Any,
) -> CacheManager:
    """A manager on `store`; close it."""
    settings = cache_settings(store, **changes)
    return CacheManager.connect(
        settings, retries=retries, client_side_families=client_side_families
    )


def unused_url() -> str:
    """A URL that is not used yet, on a port without a listener."""
    return f"http://127.0.0.1:9/{next(_numbers)}.bin"


def new_job(**changes: Any) -> Job:
    """A queued job with an id of its own."""
    values: dict[str, Any] = {
        "id": new_job_id(),
        "url": "https://example.com/film.mkv",
        "directory": "",
        "status": JobStatus.QUEUED,
        "max_attempts": 3,
        "created_at": NOW,
        "updated_at": NOW,
    }
    return Job(**(values | changes))


def progress(job_id: str = "job-1", **values: Any) -> DownloadProgress:
    """Build a progress; what is not given is that of a download that has just started."""
    return DownloadProgress(
        **{"job_id": job_id, "status": JobStatus.DOWNLOADING, "fence": 1, **values}
    )


def update(job_id: str = "job-1", **values: Any) -> ProgressUpdate:
    """Build one step of a download."""
    defaults: dict[str, Any] = {
        "job_id": job_id,
        "fence": 1,
        "sequence": 1,
        "status": JobStatus.DOWNLOADING,
        "increment": 0,
    }
    return progress_update(**(defaults | values))


def progress_update(**fields: Any) -> ProgressUpdate:
    """Build an update; byte counts are named like columns of the job's row."""
    counts = ByteCounts(
        fields.pop("bytes_downloaded", 0),
        fields.pop("bytes_durable", 0),
        fields.pop("bytes_total", None),
    )
    return ProgressUpdate(counts=counts, speed=fields.pop("speed", 0.0), **fields)


def login(session_id: str = "s-1", *, left: float = 3600, **values: Any) -> SessionData:
    """Build a session of Ada's that expires in `left` seconds."""
    expires_at = datetime.now(UTC) + timedelta(seconds=left)
    defaults: dict[str, Any] = {"user_id": "ada", "expires_at": expires_at}
    return SessionData(session_id=session_id, **(defaults | values))
