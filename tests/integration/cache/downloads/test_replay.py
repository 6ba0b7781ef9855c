"""Updates that are repeated, late, from an older claim, or meet a hash that is gone or old."""

from __future__ import annotations

from typing import Any

import pytest

from cache import CacheManager, DownloadCache, DownloadProgress
from cache.downloads.progress_hash import ProgressUpdate
from cache.models import version
from domain.errors import StoreUnavailableError
from domain.job import JobStatus
from tests.support.build import Connect, progress_update
from tests.support.servers.tcp_proxy import Proxy
from tests.support.stores.commands import commands, commands_since
from tests.support.stores.server import StoreServer

S = JobStatus
KEY = "seen:download:job:job-1"


@pytest.fixture
def cache(manager: CacheManager) -> DownloadCache:
    return manager.download


def update(sequence: int, size: int, increment: int | None = None, **values: Any) -> ProgressUpdate:
    defaults: dict[str, Any] = {
        "job_id": "job-1",
        "fence": 1,
        "sequence": sequence,
        "status": S.DOWNLOADING,
        "increment": size if increment is None else increment,
        "bytes_downloaded": size,
        "bytes_durable": 0,
        "bytes_total": None,
    }
    return progress_update(**(defaults | values))


def current(cache: DownloadCache) -> DownloadProgress:
    found = cache.get_progress("job-1")
    assert found is not None
    return found


def test_a_repeated_update_adds_nothing(cache: DownloadCache) -> None:
    first, second = update(1, 100), update(2, 150, 50)
    assert [cache.apply([one])[0].applied for one in (first, second, second, first)] == [
        True,
        True,
        False,
        False,
    ]
    assert (current(cache).bytes_downloaded, current(cache).sequence) == (150, 2)


def test_two_updates_of_one_job_may_travel_together(cache: DownloadCache) -> None:
    cache.apply([update(1, 100), update(2, 150, 50), update(2, 150, 50)])
    assert current(cache).bytes_downloaded == 150


def test_an_older_claim_changes_nothing(cache: DownloadCache, manager: CacheManager) -> None:
    cache.apply([update(1, 500, fence=2)])
    before = manager.client.hgetall(KEY), cache.dirty(), cache.get_active_downloads()
    for status in (S.DOWNLOADING, S.FAILED, S.QUEUED):
        reply = cache.apply([update(9, 900, fence=1, status=status, reason="old")])[0]
        assert (reply.applied, reply.fenced) == (False, True)
    assert (manager.client.hgetall(KEY), cache.dirty(), cache.get_active_downloads()) == before


def test_a_newer_claim_begins_with_its_own_count(cache: DownloadCache) -> None:
    cache.apply([update(7, 500, 500)])
    assert cache.apply([update(1, 120, 20, fence=2)])[0].applied
    found = current(cache)
    assert (found.fence, found.sequence, found.bytes_downloaded) == (2, 1, 120)


def test_a_newer_claim_inherits_nothing_of_how_the_older_ended(cache: DownloadCache) -> None:
    end = {"reason": "404", "error_code": "http_404", "path": "/x", "sha256": "a"}
    cache.apply([update(1, 500), update(2, 500, 0, status=S.FAILED, **end)])
    cache.apply([update(1, 0, fence=2)])
    found = current(cache)
    assert (found.reason, found.error_code, found.path, found.sha256) == (None,) * 4
    assert found.last_byte_at is None


def test_a_hash_that_is_gone_comes_back_with_the_absolute_count(
    cache: DownloadCache, manager: CacheManager
) -> None:
    cache.apply([update(1, 100)])
    manager.client.delete(KEY)
    cache.apply([update(2, 150, 50)])
    assert current(cache).bytes_downloaded == 150
    assert manager.client.pttl(KEY) > 0


def test_an_open_reset_sets_the_count(cache: DownloadCache) -> None:
    cache.apply([update(1, 500)])
    cache.apply([update(2, 20, 0, reset=True)])
    assert current(cache).bytes_downloaded == 20
    cache.apply([update(2, 20, 0, reset=True), update(3, 30, 10)])
    assert current(cache).bytes_downloaded == 30


def test_a_store_that_lost_updates_is_put_right_by_the_next(
    cache: DownloadCache, manager: CacheManager
) -> None:
    cache.apply([update(1, 100)])
    old = manager.client.dump(KEY)
    assert isinstance(old, bytes)
    cache.apply([update(2, 200, 100)])
    cache.apply([update(3, 300, 100)])
    # The server comes back with what it knew a while ago.
    manager.client.restore(KEY, 30_000, old, replace=True)
    cache.apply([update(4, 400, 100)])
    assert current(cache).bytes_downloaded == 400


def test_last_byte_at_moves_with_bytes_only(cache: DownloadCache) -> None:
    cache.apply([update(1, 100)])
    first = current(cache)
    cache.apply([update(2, 100, 0)])
    second = current(cache)
    assert second.last_byte_at == first.last_byte_at
    assert second.updated_at is not None
    assert first.updated_at is not None
    assert second.updated_at >= first.updated_at


# ── the whole write beside updates ──────────────────────────────────────────────────────────────


def test_a_whole_write_counts_on_where_updates_were(cache: DownloadCache) -> None:
    cache.apply([update(5, 500)])
    cache.set_progress(DownloadProgress(job_id="job-1", status=S.DOWNLOADING, fence=1))
    assert current(cache).sequence == 6
    assert not cache.apply([update(5, 500)])[0].applied
    assert cache.dirty() == [("job-1", version(1, 6))]


def test_a_whole_write_is_unsaved_even_after_what_it_replaces_was_saved(
    cache: DownloadCache,
) -> None:
    given = DownloadProgress(job_id="job-1", status=S.DOWNLOADING, fence=1)
    for size in (10, 20, 30):
        cache.set_progress(given.model_copy(update={"bytes_downloaded": size}))
        found = current(cache)
        assert cache.dirty() == [("job-1", found.version)]
        cache.mark_persisted([("job-1", found.version)])
        assert cache.dirty() == []


# ── many at once, scripts forgotten, replies lost ───────────────────────────────────────────────


def test_a_thousand_updates_take_few_round_trips(store: StoreServer, connect: Connect) -> None:
    with Proxy(store.port) as proxy, connect(store, cache_addr=proxy.addr) as manager:
        manager.download.apply([update(1, 0)])
        updates = [update(1, 7, job_id=f"job-{number}") for number in range(2, 1002)]
        before = proxy.round_trips
        replies = manager.download.apply(updates)
        # Pieces of one pipeline; a thousand requests would be a thousand.
        assert proxy.round_trips - before < 150
        assert len(replies) == 1000
        assert all(reply.applied for reply in replies)
        assert len(manager.download.get_active_downloads(5000)) == 1001


def test_the_scripts_are_loaded_again_in_the_middle(
    cache: DownloadCache, manager: CacheManager
) -> None:
    for sequence in range(1, 6):
        manager.client.script_flush()
        cache.apply([update(sequence, sequence * 10, 10)])
    manager.client.script_flush()
    assert cache.increment_downloaded_bytes("job-1", 1, fence=1) == 51
    manager.client.script_flush()
    cache.set_progress(current(cache))
    manager.client.script_flush()
    cache.request_control("job-1", "cancel", 1)
    manager.client.script_flush()
    cache.withdraw_control([("job-1", 1)])
    manager.client.script_flush()
    cache.mark_persisted([("job-1", 2**40)])
    manager.client.script_flush()
    assert cache.cleanup_stale_progress(0).stale == 1


def test_a_script_forgotten_within_one_pipeline_counts_once(
    store: StoreServer, connect: Connect
) -> None:
    with Proxy(store.port) as proxy, connect(store, cache_addr=proxy.addr) as manager:
        manager.download.apply([update(1, 10)])
        with store.client() as admin:
            proxy.before(b"EVALSHA", admin.script_flush)
            manager.download.apply([update(2, 30, 20)])
        assert proxy.idle
        assert current(manager.download).bytes_downloaded == 30


@pytest.mark.parametrize("retries", [0, 2])
def test_an_increment_whose_reply_was_cut_is_counted_once(
    store: StoreServer, retries: int, connect: Connect
) -> None:
    with (
        Proxy(store.port) as proxy,
        connect(store, retries=retries, cache_addr=proxy.addr) as manager,
    ):
        cache = manager.download
        cache.apply([update(1, 100)])
        proxy.cut_after_request(b"EVALSHA")
        lost = update(2, 150, 50)
        if retries:
            cache.apply([lost])
        else:
            with pytest.raises(StoreUnavailableError):
                cache.apply([lost])
            assert not cache.apply([lost])[0].applied
        assert proxy.idle
        assert current(cache).bytes_downloaded == 150


@pytest.mark.parametrize("retries", [0, 2])
def test_an_increment_without_sequence_is_never_repeated_unasked(
    store: StoreServer, retries: int, connect: Connect
) -> None:
    with (
        Proxy(store.port) as proxy,
        connect(store, retries=retries, cache_addr=proxy.addr) as manager,
    ):
        cache = manager.download
        cache.apply([update(1, 100)])
        assert cache.increment_downloaded_bytes("job-1", 1, fence=1) == 101
        proxy.cut_after_request(b"EVALSHA")
        with pytest.raises(StoreUnavailableError):
            cache.increment_downloaded_bytes("job-1", 50, fence=1)
        assert current(cache).bytes_downloaded == 151


def test_a_repeated_increment_with_sequence_is_still_marked_unsaved(
    store: StoreServer, connect: Connect
) -> None:
    with Proxy(store.port) as proxy, connect(store, cache_addr=proxy.addr) as manager:
        cache = manager.download
        cache.apply([update(1, 100)])
        cache.mark_persisted(cache.dirty())
        cache.increment_downloaded_bytes("job-1", 0, fence=1, sequence=2)
        cache.mark_persisted(cache.dirty())
        proxy.cut_after_request(b"EVALSHA")
        with pytest.raises(StoreUnavailableError):
            cache.increment_downloaded_bytes("job-1", 50, fence=1, sequence=3)
        assert cache.dirty() == []
        assert cache.increment_downloaded_bytes("job-1", 50, fence=1, sequence=3) is None
        assert cache.dirty() == [("job-1", version(1, 3))]
        assert current(cache).bytes_downloaded == 150


def test_an_update_that_continues_its_claim_costs_four_commands_of_its_script(
    manager: CacheManager,
) -> None:
    """Each of them costs the server more than the script around them, on Dragonfly most of all."""
    cache = manager.download
    cache.apply([update(1, 10)])
    before = commands(manager.client)
    cache.apply([update(2, 30, 20)])
    ran = commands_since(manager.client, before)
    assert {name: ran.get(name, 0) for name in ("evalsha", "hmget", "hset", "hincrby", "hget")} == {
        "evalsha": 2,  # of the hash, and of the rate of all downloads
        "hmget": 1,
        "hset": 1,
        "hincrby": 1,  # of the rate
        "hget": 0,
    }
    found = cache.get_progress("job-1")
    assert found is not None
    assert found.bytes_downloaded == 30


@pytest.mark.parametrize("held", [2**53 - 2, 2**53 - 1, 2**53, 2**53 + 1, 2**62])
def test_counts_stay_exact_where_lua_numbers_end(cache: DownloadCache, held: int) -> None:
    cache.apply([update(1, held)])
    for sequence in (2, 3):
        cache.apply([update(sequence, held + sequence - 1, 1)])
        found = cache.get_progress("job-1")
        assert found is not None
        assert found.bytes_downloaded == held + sequence - 1
