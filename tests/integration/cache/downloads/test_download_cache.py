"""Live progress: whole writes, counts, lives."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import pytest

from cache import CacheManager, DownloadCache
from domain.job import JobStatus
from tests.support.build import Connect, progress, update
from tests.support.servers.tcp_proxy import Proxy
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until

S = JobStatus


# ── whole writes ────────────────────────────────────────────────────────────────────────────────


def test_a_progress_comes_back_as_it_was(cache: DownloadCache) -> None:
    given = progress(
        user_id="user-1",
        bytes_downloaded=450_000_000,
        bytes_durable=440_000_000,
        bytes_total=1_000_000_000,
        download_speed_mbps=15.3,
        reason="why",
        error_code="code",
        path="/x/ü.mkv",
        sha256="a" * 64,
        sequence=7,
    )
    before = datetime.now(UTC)
    assert cache.set_progress(given)
    found = cache.get_progress("job-1")
    assert found is not None
    assert found.model_copy(update={"updated_at": None}) == given
    assert found.updated_at is not None
    assert abs((found.updated_at - before).total_seconds()) < 60
    assert (found.progress_percent, found.eta_seconds) == (45.0, 288)


def test_an_unknown_job_has_no_progress(cache: DownloadCache) -> None:
    assert cache.get_progress("none") is None
    assert cache.get_many([]) == {}
    assert cache.get_many(["none"]) == {}


def test_a_whole_write_leaves_nothing_of_the_one_before(cache: DownloadCache) -> None:
    cache.set_progress(progress(reason="old", path="/old", bytes_total=5))
    cache.set_progress(progress())
    found = cache.get_progress("job-1")
    assert found is not None
    assert (found.reason, found.path, found.bytes_total) == (None, None, None)


def test_many_are_written_and_read_in_few_round_trips(store: StoreServer, connect: Connect) -> None:
    with Proxy(store.port) as proxy, connect(store, cache_addr=proxy.addr) as manager:
        many = [progress(f"job-{number}", bytes_downloaded=number) for number in range(1000)]
        manager.download.bulk_set_progress(many[:1])
        before = proxy.round_trips
        assert manager.download.bulk_set_progress(many) == 1000
        found = manager.download.get_many([one.job_id for one in many])
        assert proxy.round_trips - before < 100
    assert [found[one.job_id].bytes_downloaded for one in many] == list(range(1000))


def test_an_empty_write_does_nothing(cache: DownloadCache, manager: CacheManager) -> None:
    assert cache.bulk_set_progress([]) == 0
    assert cache.apply([]) == []
    assert cache.remove() == 0
    cache.mark_persisted([], [])
    assert manager.client.dbsize() == 0


def test_an_older_claim_cannot_write_over_a_newer_one(cache: DownloadCache) -> None:
    assert cache.set_progress(progress(fence=5, bytes_downloaded=50))
    assert not cache.set_progress(progress(fence=4, bytes_downloaded=99, status=S.FAILED))
    found = cache.get_progress("job-1")
    assert found is not None
    assert (found.fence, found.bytes_downloaded) == (5, 50)
    assert [one.job_id for one in cache.get_active_downloads()] == ["job-1"]
    both = [progress("job-1", fence=4), progress("job-2")]
    assert cache.bulk_set_progress(both) == 1


def test_a_running_hash_lives_short_and_an_unsaved_end_long(
    cache: DownloadCache, manager: CacheManager
) -> None:
    key = manager.keys.download_job_key("job-1")
    cache.set_progress(progress())
    assert 25_000 < manager.client.pttl(key) <= 30_000
    for status in (S.COMPLETED, S.FAILED, S.CANCELLED):
        cache.set_progress(progress(status=status))
        assert 86_000_000 < manager.client.pttl(key) <= 86_400_000
    cache.mark_persisted([("job-1", 2**40)], ["job-1"])
    assert 25_000 < manager.client.pttl(key) <= 30_000


def test_a_hash_expires_with_its_life(store: StoreServer, connect: Connect) -> None:
    with connect(store, progress_ttl=0.05, heartbeat_interval=0.01, flush_interval=0.01) as m:
        m.download.set_progress(progress())
        wait_until(lambda: m.download.get_progress("job-1") is None)


@pytest.mark.parametrize(
    "damage",
    [
        ("status", "dancing"),
        ("bytes_downloaded", "many"),
        ("bytes_downloaded", "-1"),
        ("updated_at", "soon"),
        ("updated_at", "9" * 30),
        ("download_speed_mbps", "fast"),
        ("path", b"\xff"),
    ],
)
def test_one_damaged_hash_does_not_hide_the_others(
    cache: DownloadCache, manager: CacheManager, damage: tuple[str, str | bytes]
) -> None:
    cache.bulk_set_progress([progress("job-1"), progress("job-2")])
    manager.client.hset(manager.keys.download_job_key("job-1"), *damage)
    assert set(cache.get_many(["job-1", "job-2"])) == {"job-2"}
    assert [one.job_id for one in cache.get_active_downloads()] == ["job-2"]


# ── single fields ───────────────────────────────────────────────────────────────────────────────


def test_bytes_are_added_to_a_hash_that_is_there(cache: DownloadCache) -> None:
    cache.set_progress(progress(fence=0, bytes_downloaded=100))
    assert cache.increment_downloaded_bytes("job-1", 1024) == 1124
    assert cache.increment_downloaded_bytes("job-1", 0) == 1124
    found = cache.get_progress("job-1")
    assert found is not None
    assert found.bytes_downloaded == 1124
    assert found.last_byte_at is not None


def test_an_increment_without_a_hash_makes_none(
    cache: DownloadCache, manager: CacheManager
) -> None:
    assert cache.increment_downloaded_bytes("job-1", 1024) is None
    assert cache.set_download_speed("job-1", 5.0) is False
    assert manager.client.dbsize() == 0


def test_the_same_sequence_adds_once(cache: DownloadCache) -> None:
    cache.set_progress(progress())
    assert cache.increment_downloaded_bytes("job-1", 10, fence=1, sequence=1) == 10
    assert cache.increment_downloaded_bytes("job-1", 10, fence=1, sequence=1) is None
    assert cache.increment_downloaded_bytes("job-1", 10, fence=1, sequence=2) == 20


@pytest.mark.parametrize(("fence", "added"), [(4, None), (5, 15), (6, None)])
def test_only_the_claim_that_owns_the_hash_adds(
    cache: DownloadCache, fence: int, added: int | None
) -> None:
    cache.set_progress(progress(fence=5, bytes_downloaded=10))
    assert cache.increment_downloaded_bytes("job-1", 5, fence=fence) == added
    assert cache.set_download_speed("job-1", 2.0, fence=fence) is (added is not None)
    found = cache.get_progress("job-1")
    assert found is not None
    assert found.bytes_downloaded == (added or 10)


def test_counts_beyond_the_doubles_stay_exact(cache: DownloadCache) -> None:
    huge = 2**53 + 1
    cache.set_progress(progress(fence=0, bytes_downloaded=huge, bytes_total=2**62 + 1))
    assert cache.increment_downloaded_bytes("job-1", 2) == huge + 2
    cache.apply([update("job-2", increment=0, bytes_downloaded=huge)])
    cache.apply([update("job-2", sequence=2, increment=huge, bytes_downloaded=2 * huge)])
    found = cache.get_many(["job-1", "job-2"])
    assert found["job-1"].bytes_downloaded == huge + 2
    assert found["job-1"].bytes_total == 2**62 + 1
    assert found["job-2"].bytes_downloaded == 2 * huge


def test_a_speed_is_set(cache: DownloadCache) -> None:
    cache.set_progress(progress(fence=0, bytes_downloaded=7))
    assert cache.set_download_speed("job-1", 20.5)
    found = cache.get_progress("job-1")
    assert found is not None
    assert (found.download_speed_mbps, found.bytes_downloaded) == (20.5, 7)
    assert found.last_byte_at is None


@pytest.mark.parametrize("wrong", [-1, math.nan])
def test_a_negative_step_is_a_mistake(cache: DownloadCache, wrong: float) -> None:
    cache.set_progress(progress(fence=0))
    with pytest.raises(ValueError, match=r"from 0 to 1e\+12"):
        cache.set_download_speed("job-1", wrong)
    with pytest.raises(ValueError, match="0 or more"):
        cache.increment_downloaded_bytes("job-1", -1)


def test_a_touch_renews_but_never_shortens_a_life(
    cache: DownloadCache, manager: CacheManager
) -> None:
    key = manager.keys.download_job_key("job-1")
    cache.set_progress(progress())
    manager.client.pexpire(key, 5_000)
    cache.increment_downloaded_bytes("job-1", 1, fence=1)
    assert manager.client.pttl(key) > 25_000
    cache.set_progress(progress(status=S.COMPLETED))
    cache.set_download_speed("job-1", 0.0, fence=1)
    assert manager.client.pttl(key) > 86_000_000
