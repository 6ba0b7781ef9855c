"""`seen limit` as a person uses it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cache import Demand
from domain.ids import new_job_id
from tests.support.build import cache_manager
from tests.support.services.seen import Seen
from tests.support.stores.server import StoreServer

M = 2**20


@pytest.fixture
def seen(tmp_path: Path, store: StoreServer) -> Iterator[Seen]:
    settings = {"SEEN_CACHE_ADDR": store.addr, "SEEN_CACHE_PASSWORD": store.password}
    with Seen(tmp_path, **settings) as person:
        yield person


def test_limits_are_set_shown_and_taken_away(seen: Seen, store: StoreServer) -> None:
    assert [line.split() for line in seen.good("limit").out.splitlines()] == [
        ["total", "no", "limit", "now", "0", "B/s"],
        ["downloads", "at", "once", "no", "limit", "now", "0"],
    ]
    (job_id,) = seen.good("add", "https://example.com/film.mkv").out.split()
    set_all = seen.good(
        "limit", "--total", "10M", "--host", "Example.ORG", "5mi", "--job", job_id, "1MiB", "--json"
    )
    with cache_manager(store) as manager:
        rates = {"total": 10_000_000, "host:example.org": 5 * M, f"job:{job_id}": M}
        assert manager.limits.rates() == rates
        manager.limits.share_demands("w", {"host:example.org": Demand(3, 3, 0, 4_900_000)}, 60)
        shown = seen.good("limit", "--json").json()
        assert shown["hosts"] == [
            {"host": "example.org", "limit": 5 * M, "used": 4_900_000, "transfers": 3}
        ]
        assert {**shown, "hosts": []} == {**set_all.json(), "hosts": []}
        table = seen.good("limit", "--total", "none").out.splitlines()
        assert [line.split()[0] for line in table] == ["total", "downloads", "host", "job"]
        assert "no limit" in table[0]
        assert "now 4.9 MB/s in 3 downloads" in table[2]
        seen.good("limit", "--host", "example.org", "none", "--job", job_id, "none")
        assert manager.limits.rates() == {}
    seen.environment["SEEN_MAX_RATE"] = str(M)
    assert "1.0 MB/s (SEEN_MAX_RATE)" in seen.good("limit").out


def test_a_limit_of_downloads_at_once_is_set_shown_and_taken_away(
    seen: Seen, store: StoreServer
) -> None:
    limited = seen.good("limit", "--downloads", "4", "--json").json()["concurrent_downloads"]
    assert limited == {"limit": 4, "is_default": False, "running": 0}
    seen.environment["SEEN_MAX_DOWNLOADS"] = "7"
    assert seen.good("limit").out.splitlines()[1].split()[3:] == ["4", "now", "0"]
    for wrong in ("0", "-1", "1.5", "many", "", "100001", "\u0663", "1" * 5000):
        refused = seen.run("limit", "--downloads", wrong, "--total", "10M")
        assert refused.status == 2, wrong
        assert "--downloads" in refused.error_line()
    with cache_manager(store) as manager:
        assert manager.limits.most_downloads() == 4
        assert manager.limits.rates() == {}
    assert "7 (SEEN_MAX_DOWNLOADS)" in seen.good("limit", "--downloads", "none").out


def test_wrong_input_changes_nothing(seen: Seen, store: StoreServer) -> None:
    (job_id,) = seen.good("add", "https://example.com/film.mkv").out.split()
    seen.good("cancel", job_id)
    for wrong in (
        ["--total", "-5M"],
        ["--host", "http://example.org", "5M"],
        ["--host", "example.org"],
        ["--job", "no-job", "5M"],
        ["--job", new_job_id(), "5M"],
        ["--job", job_id, "5M"],
    ):
        refused = seen.run("limit", "--total", "10M", *wrong)
        assert refused.status == 2, wrong
        assert refused.error_line()
    with cache_manager(store) as manager:
        assert manager.limits.rates() == {}


def test_without_a_store_it_says_so(tmp_path: Path, free_port: int) -> None:
    with Seen(tmp_path, SEEN_CACHE_ADDR=f"127.0.0.1:{free_port}") as person:
        refused = person.run("limit", "--total", "10M")
    assert refused.status == 1
    assert "The store does not answer" in refused.error_line()
