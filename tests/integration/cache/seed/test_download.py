"""Download cache: progress."""

from __future__ import annotations

from datetime import timedelta

import pytest

from cache import CacheManager, DownloadCache, DownloadProgress
from domain.job import JobStatus


@pytest.fixture
def download_cache(manager: CacheManager) -> DownloadCache:
    """`downloadCache := manager.Download()`"""
    return manager.download


def progress(job_id: str = "job-123") -> DownloadProgress:
    return DownloadProgress(
        job_id=job_id,
        status=JobStatus("downloading"),
        progress_percent=45,
        bytes_total=1_000_000_000,
        bytes_downloaded=450_000_000,
        download_speed_mbps=15.3,
        eta_seconds=120,
    )


def test_download_set_progress(download_cache: DownloadCache, manager: CacheManager) -> None:
    """`downloadCache.SetProgress(ctx, cache.DownloadProgress{…})`"""
    assert download_cache.set_progress(progress()) is True
    assert 20_000 < manager.client.pttl("seen:download:job:job-123") <= 30_000


def test_download_get_progress(download_cache: DownloadCache) -> None:
    """`downloadCache.GetProgress(ctx, "job-123")`"""
    download_cache.set_progress(progress())
    found = download_cache.get_progress("job-123")
    assert found is not None
    assert (found.job_id, found.status) == ("job-123", "downloading")
    assert (found.bytes_downloaded, found.bytes_total) == (450_000_000, 1_000_000_000)
    assert (found.progress_percent, found.download_speed_mbps) == (45.0, 15.3)
    assert found.eta_seconds == 288  # computed: 550 MB at 15.3 Mbit/s
    assert download_cache.get_progress("job-124") is None


def test_download_increment_downloaded_bytes(download_cache: DownloadCache) -> None:
    """`downloadCache.IncrementDownloadedBytes(ctx, "job-123", 1024*1024)`"""
    download_cache.set_progress(progress())
    assert download_cache.increment_downloaded_bytes("job-123", 1024 * 1024) == 451_048_576
    assert download_cache.increment_downloaded_bytes("job-124", 1024 * 1024) is None


def test_download_set_download_speed(download_cache: DownloadCache) -> None:
    """`downloadCache.SetDownloadSpeed(ctx, "job-123", 20.5)`"""
    download_cache.set_progress(progress())
    assert download_cache.set_download_speed("job-123", 20.5) is True
    found = download_cache.get_progress("job-123")
    assert found is not None
    assert found.download_speed_mbps == 20.5


def test_download_get_active_downloads(download_cache: DownloadCache) -> None:
    """`downloadCache.GetActiveDownloads(ctx)`"""
    download_cache.set_progress(progress())
    download_cache.set_progress(DownloadProgress(job_id="job-done", status=JobStatus.COMPLETED))
    assert [one.job_id for one in download_cache.get_active_downloads()] == ["job-123"]


def test_download_bulk_set_progress(download_cache: DownloadCache) -> None:
    """`downloadCache.BulkSetProgress(ctx, []cache.DownloadProgress{...})`"""
    assert download_cache.bulk_set_progress([progress("job-1"), progress("job-2")]) == 2
    assert len(download_cache.get_active_downloads()) == 2


def test_download_cleanup_stale_progress(download_cache: DownloadCache) -> None:
    """`downloadCache.CleanupStaleProgress(ctx, 1*time.Hour)`"""
    download_cache.set_progress(progress())
    assert download_cache.cleanup_stale_progress(timedelta(hours=1)).stale == 0
    assert download_cache.cleanup_stale_progress(timedelta()).stale == 1
    assert download_cache.get_progress("job-123") is None
