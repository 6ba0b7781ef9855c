"""Reading many downloads: a user's, page by page, and all of them as two numbers."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain

import pytest

from cache import CacheManager, DownloadCache, DownloadProgress
from cache.downloads.updates import RATE_SECONDS
from domain.errors import InvalidInputError, StoreUnavailableError
from domain.job import JobStatus
from tests.support.build import Connect, progress, update
from tests.support.servers.tcp_proxy import Proxy
from tests.support.stores.commands import commands, commands_since
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until

RATE = "seen:download:rate"
ACTIVE = "seen:download:active"


@pytest.fixture
def cache(manager: CacheManager) -> DownloadCache:
    return manager.download


def ids(found: list[DownloadProgress] | tuple[DownloadProgress, ...]) -> list[str]:
    return [one.job_id for one in found]


def counted(manager: CacheManager) -> int:
    """The bytes that were counted, whatever the second."""
    return sum(int(number) for number in manager.client.hvals(RATE))


# ── a user's ────────────────────────────────────────────────────────────────────────────────────


def test_a_users_downloads_come_the_most_recently_updated_first(
    cache: DownloadCache, manager: CacheManager
) -> None:
    for number in range(4):
        status = JobStatus.COMPLETED if number == 1 else JobStatus.DOWNLOADING
        cache.set_progress(progress(f"job-{number}", user_id="ada", status=status))
    cache.set_progress(progress("job-8", user_id="bob"))
    cache.set_progress(progress("job-9"))
    index = manager.keys.user_downloads_key("ada")
    manager.client.zadd(index, {f"job-{number}": 2**41 + number for number in range(4)})
    assert ids(cache.get_user_downloads("ada")) == ["job-3", "job-2", "job-1", "job-0"]
    assert ids(cache.get_user_downloads("ada", limit=2)) == ["job-3", "job-2"]
    manager.client.zadd(index, {"job-0": 2**41 + 9})
    assert ids(cache.get_user_downloads("ada", limit=1)) == ["job-0"]
    assert cache.get_user_downloads("eve") == []


def test_a_users_download_that_is_gone_is_left_out(
    cache: DownloadCache, manager: CacheManager
) -> None:
    cache.bulk_set_progress([progress("job-1", user_id="ada"), progress("job-2", user_id="ada")])
    manager.client.delete(manager.keys.download_job_key("job-1"))
    assert ids(cache.get_user_downloads("ada")) == ["job-2"]


# ── pages ───────────────────────────────────────────────────────────────────────────────────────


def pages(
    cache: DownloadCache, limit: int, between: Callable[[], object] = lambda: None
) -> list[list[str]]:
    """Every page, by the ids on it."""
    found, after = [], None
    while True:
        page = cache.page_active_downloads(after=after, limit=limit)
        found.append(ids(page.items))
        after = page.next_after
        if after is None:
            return found
        between()


def begin(cache: DownloadCache, *numbers: int) -> list[str]:
    """Let jobs of these numbers run."""
    names = [f"job-{number:03}" for number in numbers]
    cache.bulk_set_progress([progress(name) for name in names])
    return names


@pytest.mark.parametrize(
    ("count", "sizes"), [(0, [0]), (9, [9]), (20, [10, 10]), (25, [10, 10, 5])]
)
def test_pages_hold_every_download_once_in_the_order_of_their_ids(
    cache: DownloadCache, count: int, sizes: list[int]
) -> None:
    names = begin(cache, *reversed(range(count)))
    found = pages(cache, 10)
    assert [len(page) for page in found] == sizes
    assert list(chain.from_iterable(found)) == sorted(names)


def test_what_runs_the_whole_time_is_on_one_page_whatever_happens_meanwhile(
    cache: DownloadCache, manager: CacheManager
) -> None:
    lasting = begin(cache, *range(0, 100, 2))
    passing = begin(cache, *range(1, 50, 2))
    coming = iter(range(51, 100, 2))

    def between() -> None:
        # All are updated in another order, some end, some begin before and behind the reader.
        for place, name in enumerate(reversed(lasting)):
            manager.client.zadd(ACTIVE, {name: 2**41 + place})
        for name in passing[:3] + passing[-2:]:
            cache.remove(name)
            passing.remove(name)
        begin(cache, next(coming), 200 + next(coming))

    found = list(chain.from_iterable(pages(cache, 7, between)))
    assert len(found) == len(set(found))
    assert set(lasting) <= set(found)


def test_a_page_goes_on_behind_a_download_that_has_ended(cache: DownloadCache) -> None:
    names = begin(cache, *range(6))
    first = cache.page_active_downloads(limit=3)
    assert first.next_after == names[2]
    cache.remove(*names[:4])
    assert ids(cache.page_active_downloads(after=first.next_after, limit=3).items) == names[4:]
    assert cache.page_active_downloads(after="zzz").items == ()


def test_a_page_shows_only_what_runs_and_reads_no_more_than_its_own(
    cache: DownloadCache, manager: CacheManager
) -> None:
    names = begin(cache, *range(30))
    manager.client.delete(manager.keys.download_job_key(names[1]))
    manager.client.hset(manager.keys.download_job_key(names[2]), "status", "paused")
    before = commands(manager.client)
    page = cache.page_active_downloads(limit=5)
    assert commands_since(manager.client, before)["hgetall"] == 5
    assert (ids(page.items), page.next_after) == ([names[0], names[3], names[4]], names[4])


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_is_one_or_more(cache: DownloadCache, limit: int) -> None:
    uses: list[Callable[[], object]] = [
        lambda: cache.page_active_downloads(limit=limit),
        lambda: cache.get_user_downloads("ada", limit=limit),
        lambda: cache.get_active_downloads(limit=limit),
    ]
    for use in uses:
        with pytest.raises(InvalidInputError, match="limit"):
            use()


# ── totals ──────────────────────────────────────────────────────────────────────────────────────


def test_nothing_runs_in_an_empty_store(cache: DownloadCache) -> None:
    totals = cache.totals()
    assert (totals.active, totals.bytes_per_second, totals.seconds) == (0, 0, RATE_SECONDS)


def test_only_the_living_are_counted(cache: DownloadCache, manager: CacheManager) -> None:
    begin(cache, *range(5))
    cache.set_progress(progress("job-002", status=JobStatus.PAUSED))
    seconds, _ = manager.client.time()
    # The workers of these two have not said a word for longer than a hash lives, or almost so long.
    manager.client.zadd(
        ACTIVE, {"job-000": (seconds - 31) * 1000, "job-001": (seconds - 20) * 1000}
    )
    assert cache.totals().active == 3


def test_the_rate_is_that_of_the_last_whole_seconds(
    cache: DownloadCache, manager: CacheManager
) -> None:
    def second() -> int:
        return int(manager.client.time()[0])

    def seen_within_one_second() -> bool:
        """Write a past, and read its rate; False when a second ended in between."""
        now = second()
        manager.client.delete(RATE)
        manager.client.hset(RATE, mapping={str(now - back): 10**back for back in range(8)})
        rate = cache.totals().bytes_per_second
        if second() != now:
            return False
        assert rate == 111_110 / RATE_SECONDS
        return True

    wait_until(seen_within_one_second, what="a look within one second")


def test_the_rate_is_what_was_written(cache: DownloadCache, manager: CacheManager) -> None:
    written = 0
    for sequence in range(1, 5):
        cache.apply(
            [
                update(f"job-{job}", sequence=sequence, increment=1000 * job, bytes_downloaded=1)
                for job in range(1, 4)
            ]
        )
        written += 6000
    last, _ = manager.client.time()
    wait_until(lambda: manager.client.time()[0] > last, what="the end of this second")
    # It all lies within the window, unless this test took longer than that.
    assert cache.totals().bytes_per_second == written / RATE_SECONDS


def test_seconds_outside_every_window_are_removed(
    cache: DownloadCache, manager: CacheManager
) -> None:
    seconds, _ = manager.client.time()
    manager.client.hset(RATE, mapping={str(seconds - back): 1 for back in (4, 8, 100)})
    cache.apply([update(increment=5)])
    assert str(seconds - 4).encode() in manager.client.hkeys(RATE)
    assert len(manager.client.hkeys(RATE)) == 2
    assert 5000 < manager.client.pttl(RATE) <= (RATE_SECONDS + 2) * 1000


def test_every_byte_is_counted_once(cache: DownloadCache, manager: CacheManager) -> None:
    first = [update(increment=100), update("job-2", increment=20)]
    for _ in range(3):
        cache.apply(first)
    assert counted(manager) == 120
    cache.increment_downloaded_bytes("job-1", 3, fence=1, sequence=2)
    cache.increment_downloaded_bytes("job-1", 3, fence=1, sequence=2)
    assert counted(manager) == 123
    cache.increment_downloaded_bytes("nowhere", 7)
    cache.apply([update("job-3", increment=0)])
    assert counted(manager) == 123


def test_an_older_claim_adds_nothing(cache: DownloadCache, manager: CacheManager) -> None:
    cache.apply([update(fence=2, increment=10)])
    cache.apply([update(fence=1, sequence=9, increment=500)])
    assert cache.increment_downloaded_bytes("job-1", 500, fence=1) is None
    assert counted(manager) == 10


def test_a_lost_answer_never_counts_twice(store: StoreServer, connect: Connect) -> None:
    with Proxy(store.port) as proxy, connect(store, retries=2, cache_addr=proxy.addr) as manager:
        manager.download.apply([update(increment=100)])
        later = [update(sequence=2, increment=10)]
        proxy.before(b"", lambda: None)
        proxy.cut_after_request()
        with pytest.raises(StoreUnavailableError):
            manager.download.apply(later)
        assert proxy.idle
        assert counted(manager) == 110
        assert not manager.download.apply(later)[0].applied
        assert counted(manager) == 110


def test_totals_are_one_round_trip_however_many_there_are(
    store: StoreServer, connect: Connect
) -> None:
    with Proxy(store.port) as proxy, connect(store, cache_addr=proxy.addr) as manager:
        begin(manager.download, *range(900))
        manager.download.totals()  # the scripts are known from here on
        before, trips = commands(manager.client), proxy.round_trips
        assert manager.download.totals().active == 900
        assert proxy.round_trips - trips == 1
        run = commands_since(manager.client, before)
        assert not {"hgetall", "zrange", "zrangebyscore", "zrevrange", "scan"} & set(run)
        assert run.get("hget", 0) <= RATE_SECONDS


def test_bytes_and_an_end_cost_one_more_round_trip(store: StoreServer, connect: Connect) -> None:
    with Proxy(store.port) as proxy, connect(store, cache_addr=proxy.addr) as manager:
        manager.download.apply([update(increment=1), update("job-2", increment=1)])
        end = update(sequence=2, increment=5, status=JobStatus.COMPLETED)
        trips = proxy.round_trips
        manager.download.apply([end, update("job-2", sequence=2, increment=7)])
        assert proxy.round_trips - trips == 2
        assert manager.client.zrange(ACTIVE, 0, -1) == [b"job-2"]
        assert counted(manager) == 14
