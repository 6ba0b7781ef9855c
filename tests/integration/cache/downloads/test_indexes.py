"""Live progress: who is active, whose it is, and words for a running claim."""

from __future__ import annotations

import pytest

from cache import CacheManager, DownloadCache
from domain.job import JobStatus
from tests.support.build import progress, update

S = JobStatus


# ── who is active ───────────────────────────────────────────────────────────────────────────────


def test_the_active_downloads_are_those_that_run(cache: DownloadCache) -> None:
    for number, status in enumerate(S):
        cache.set_progress(progress(f"job-{number}", status=status))
    assert {one.status for one in cache.get_active_downloads()} == {S.DOWNLOADING, S.VERIFYING}


def test_the_most_recently_updated_comes_first(cache: DownloadCache, manager: CacheManager) -> None:
    active = manager.keys.active_downloads_key()
    cache.bulk_set_progress([progress(f"job-{number}", fence=0) for number in range(3)])
    # As if the other two had been reported a while ago.
    manager.client.zadd(active, {"job-0": 1, "job-1": 2, "job-2": 3})
    assert [one.job_id for one in cache.get_active_downloads()] == ["job-2", "job-1", "job-0"]
    assert [one.job_id for one in cache.get_active_downloads(limit=1)] == ["job-2"]
    assert cache.active_updates() == [("job-2", 3), ("job-1", 2), ("job-0", 1)]
    assert cache.active_updates(limit=1) == [("job-2", 3)]
    cache.increment_downloaded_bytes("job-0", 1)
    assert [one.job_id for one in cache.get_active_downloads(limit=1)] == ["job-0"]


def test_one_that_ends_is_active_no_more(cache: DownloadCache, manager: CacheManager) -> None:
    cache.set_progress(progress("job-1"))
    cache.apply([update("job-2")])
    cache.set_progress(progress("job-1", status=S.PAUSED))
    cache.apply([update("job-2", sequence=2, status=S.QUEUED)])
    assert cache.get_active_downloads() == []
    assert manager.client.zcard(manager.keys.active_downloads_key()) == 0


def test_a_removed_download_leaves_nothing(cache: DownloadCache, manager: CacheManager) -> None:
    cache.bulk_set_progress([progress("job-1"), progress("job-2")])
    assert cache.remove("job-1", "none") == 1
    assert cache.get_progress("job-1") is None
    assert [one.job_id for one in cache.get_active_downloads()] == ["job-2"]
    assert [job_id for job_id, _ in cache.dirty()] == ["job-2"]


def test_all_of_a_users_downloads_are_forgotten(
    cache: DownloadCache, manager: CacheManager
) -> None:
    mine = [progress(f"job-{number}", user_id="me") for number in range(3)]
    cache.bulk_set_progress([*mine, progress("job-9", user_id="you"), progress("job-8")])
    assert cache.invalidate_user_downloads("me") == 3
    assert cache.invalidate_user_downloads("me") == 0
    assert {one.job_id for one in cache.get_active_downloads()} == {"job-9", "job-8"}
    assert not manager.client.exists(manager.keys.user_downloads_key("me"))


def test_every_index_of_a_user_has_a_life(cache: DownloadCache, manager: CacheManager) -> None:
    cache.apply([update(user_id="me")])
    assert manager.client.pttl(manager.keys.user_downloads_key("me")) > 0


# ── control words ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("control", ["pause", "cancel"])
def test_a_word_reaches_the_claim_it_is_addressed_to(cache: DownloadCache, control: str) -> None:
    cache.apply([update(fence=3)])
    cache.request_control("job-1", control, 3)
    assert cache.apply([update(fence=3, sequence=2)])[0].control == control
    # It stays until the claim ends, so that a lost answer does not lose it.
    assert cache.apply([update(fence=3, sequence=2)])[0].control == control


def test_a_word_does_not_reach_another_claim(cache: DownloadCache) -> None:
    cache.apply([update(fence=3)])
    cache.request_control("job-1", "cancel", 3)
    assert cache.apply([update(fence=4)])[0].control is None
    cache.request_control("job-1", "pause", 5)
    assert cache.apply([update(fence=4, sequence=2)])[0].control is None
    assert cache.apply([update(fence=5)])[0].control == "pause"


def test_a_word_survives_a_whole_write(cache: DownloadCache) -> None:
    cache.set_progress(progress(fence=3))
    cache.request_control("job-1", "cancel", 3)
    cache.set_progress(progress(fence=3, bytes_downloaded=5))
    assert cache.apply([update(fence=3, sequence=9)])[0].control == "cancel"


def test_a_word_may_come_before_the_first_progress(
    cache: DownloadCache, manager: CacheManager
) -> None:
    cache.request_control("job-1", "cancel", 1)
    assert cache.get_progress("job-1") is None
    assert manager.client.pttl(manager.keys.download_job_key("job-1")) > 0
    assert cache.apply([update(increment=5, bytes_downloaded=5)])[0].control == "cancel"
    found = cache.get_progress("job-1")
    assert found is not None
    assert found.bytes_downloaded == 5


def test_a_word_does_not_prolong_or_shorten_a_life(
    cache: DownloadCache, manager: CacheManager
) -> None:
    key = manager.keys.download_job_key("job-1")
    cache.set_progress(progress())
    manager.client.pexpire(key, 5_000)
    cache.request_control("job-1", "cancel", 1)
    assert 0 < manager.client.pttl(key) <= 5_000


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("pause", "cancel", "cancel"),
        ("cancel", "pause", "cancel"),  # however late the pause comes
        ("pause", "pause", "pause"),
        ("cancel", "leave", "leave"),
        ("leave", "cancel", "leave"),
    ],
)
def test_no_word_replaces_one_that_nothing_overrules(
    cache: DownloadCache, first: str, second: str, expected: str
) -> None:
    cache.apply([update(fence=3)])
    cache.request_control("job-1", first, 3)
    cache.request_control("job-1", second, 3)
    assert cache.apply([update(fence=3, sequence=2)])[0].control == expected


def test_the_word_to_a_newer_claim_is_the_one_that_counts(cache: DownloadCache) -> None:
    cache.request_control("job-1", "cancel", 3)
    cache.request_control("job-1", "pause", 4)
    cache.request_control("job-1", "cancel", 3)
    assert cache.apply([update(fence=4)])[0].control == "pause"


def test_only_a_pause_of_the_same_claim_is_taken_back(cache: DownloadCache) -> None:
    cache.apply([update(fence=3)])
    cache.withdraw_control([("job-1", 3), ("job-2", 1)])
    for control, fence, expected in (
        ("pause", 2, "pause"),
        ("pause", 3, None),
        ("cancel", 3, "cancel"),
    ):
        cache.request_control("job-1", control, 3)
        cache.withdraw_control([("job-1", fence)])
        assert cache.apply([update(fence=3, sequence=2)])[0].control == expected
    assert cache.get_progress("job-2") is None


def test_the_index_of_a_busy_user_sheds_what_is_old(
    manager: CacheManager, cache: DownloadCache
) -> None:
    index = manager.keys.user_downloads_key("ada")
    manager.client.zadd(index, {"long-ago": 1.0})
    cache.set_progress(progress("job-1", user_id="ada"))
    assert manager.client.zrange(index, 0, -1) == [b"job-1"]
