"""What the database still lacks, and what is cleaned away."""

from __future__ import annotations

from typing import Any

import pytest

from cache import CacheManager, DownloadCache, DownloadProgress
from cache.models import version
from domain.job import JobStatus
from tests.support.build import Connect
from tests.support.servers.tcp_proxy import Proxy
from tests.support.stores.server import StoreServer

S = JobStatus


@pytest.fixture
def cache(manager: CacheManager) -> DownloadCache:
    return manager.download


def progress(job_id: str = "job-1", **values: Any) -> DownloadProgress:
    return DownloadProgress(**{"job_id": job_id, "status": S.DOWNLOADING, "fence": 1, **values})


def age(manager: CacheManager, job_id: str, milliseconds: int = 10_000_000) -> None:
    """Make a job look as if it was last updated so long ago."""
    key, active = manager.keys.download_job_key(job_id), manager.keys.active_downloads_key()
    seconds, _ = manager.client.time()
    manager.client.hset(key, "updated_at", str(seconds * 1000 - milliseconds))
    manager.client.zadd(active, {job_id: seconds * 1000 - milliseconds})


# ── what the database lacks ─────────────────────────────────────────────────────────────────────


def test_every_change_marks_a_job_unsaved_by_its_version(cache: DownloadCache) -> None:
    cache.set_progress(progress("job-1", fence=2, sequence=9))
    cache.set_progress(progress("job-2", fence=1, sequence=3))
    assert cache.dirty() == [("job-2", version(1, 3)), ("job-1", version(2, 9))]


def test_a_saved_version_is_unmarked_and_a_newer_one_stays(cache: DownloadCache) -> None:
    cache.bulk_set_progress([progress("job-1", sequence=5), progress("job-2", sequence=5)])
    cache.mark_persisted([("job-1", version(1, 5)), ("job-2", version(1, 4)), ("job-3", 1)])
    assert cache.dirty() == [("job-2", version(1, 5))]


def test_versions_stay_exact_over_a_million_claims(cache: DownloadCache) -> None:
    high = progress("job-1", fence=2**20, sequence=2**31)
    cache.set_progress(high)
    assert cache.dirty() == [("job-1", high.version)]
    cache.mark_persisted([("job-1", high.version - 1)])
    assert cache.dirty() == [("job-1", high.version)]
    cache.mark_persisted([("job-1", high.version)])
    assert cache.dirty() == []


# ── cleaning up ─────────────────────────────────────────────────────────────────────────────────


def test_progress_that_was_not_refreshed_is_removed(
    cache: DownloadCache, manager: CacheManager
) -> None:
    cache.bulk_set_progress([progress("old"), progress("new")])
    age(manager, "old")
    assert cache.cleanup_stale_progress(3600)[:2] == (1, 2)
    assert [one.job_id for one in cache.get_active_downloads()] == ["new"]
    assert [job_id for job_id, _ in cache.dirty()] == ["new"]
    assert cache.cleanup_stale_progress(3600)[:2] == (0, 0)


def test_index_entries_without_a_hash_are_removed(
    cache: DownloadCache, manager: CacheManager
) -> None:
    cache.bulk_set_progress([progress(f"job-{number}") for number in range(700)])
    manager.client.unlink(*(manager.keys.download_job_key(f"job-{n}") for n in range(699)))
    assert cache.cleanup_stale_progress(3600)[:2] == (0, 2 * 699)
    assert [job_id for job_id, _ in cache.dirty()] == ["job-699"]
    assert manager.client.zrange(manager.keys.active_downloads_key(), 0, -1) == [b"job-699"]


@pytest.mark.parametrize("status", [S.COMPLETED, S.FAILED, S.CANCELLED])
def test_an_end_the_database_does_not_have_is_kept(
    cache: DownloadCache, manager: CacheManager, status: JobStatus
) -> None:
    cache.set_progress(progress(status=status))
    age(manager, "job-1")
    assert cache.cleanup_stale_progress(3600)[:2] == (0, 0)
    assert cache.get_progress("job-1") is not None
    assert cache.dirty() == [("job-1", version(1, 0))]


def test_a_hash_that_was_touched_stays_though_the_index_is_behind(
    cache: DownloadCache, manager: CacheManager
) -> None:
    cache.set_progress(progress())
    manager.client.zadd(manager.keys.active_downloads_key(), {"job-1": 1})
    assert cache.cleanup_stale_progress(3600)[:2] == (0, 0)
    assert cache.get_progress("job-1") is not None


@pytest.mark.parametrize("command", [b"ZRANGEBYSCORE", b"EVALSHA", b"ZSCAN", b"EXISTS"])
def test_a_hash_that_is_touched_meanwhile_stays(
    store: StoreServer, manager: CacheManager, command: bytes, connect: Connect
) -> None:
    manager.download.set_progress(progress("job-1", fence=0))
    age(manager, "job-1")
    manager.download.cleanup_stale_progress(10**9)  # the scripts are known from here on
    with Proxy(store.port) as proxy, connect(store, cache_addr=proxy.addr) as cleaner:
        # Whatever the cleaner does next, the worker's word comes right before it.
        proxy.before(
            command, lambda: manager.download.set_progress(progress("job-1", bytes_downloaded=5))
        )
        cleaner.download.cleanup_stale_progress(3600)
        assert proxy.idle
    found = manager.download.get_progress("job-1")
    assert found is not None
    assert found.bytes_downloaded == 5
    assert [one.job_id for one in manager.download.get_active_downloads()] == ["job-1"]
    assert [job_id for job_id, _ in manager.download.dirty()] == ["job-1"]


def test_a_hash_with_nothing_but_a_word_is_left_to_expire(
    cache: DownloadCache, manager: CacheManager
) -> None:
    cache.request_control("job-1", "cancel", 1)
    assert cache.cleanup_stale_progress(0)[:2] == (0, 0)
    assert manager.client.exists(manager.keys.download_job_key("job-1"))
