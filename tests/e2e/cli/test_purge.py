"""`seen db purge` deletes old finished jobs, with output as text and as JSON."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.services.seen import Seen
from tests.support.stores.server import StoreServer


@pytest.fixture
def seen(tmp_path: Path, store: StoreServer) -> Iterator[Seen]:
    settings = {"SEEN_CACHE_ADDR": store.addr, "SEEN_CACHE_PASSWORD": store.password}
    with Seen(tmp_path, **settings) as person:
        yield person


def cancelled(seen: Seen, *, days_ago: int) -> str:
    """A job that ended so many days ago."""
    job_id = seen.good("add", "http://192.0.2.1/a.bin").out.strip()
    seen.good("cancel", job_id)
    with sqlite3.connect(seen.data_dir / "seen.db") as database:
        ended = "datetime('now', ?)"
        database.execute(
            f"UPDATE jobs SET finished_at = {ended} WHERE id = ?", (f"-{days_ago} days", job_id)
        )
    database.close()
    return job_id


def test_old_jobs_are_counted_and_then_forgotten(seen: Seen) -> None:
    old, young = cancelled(seen, days_ago=40), cancelled(seen, days_ago=10)
    unfinished = seen.good("add", "http://192.0.2.1/b.bin").out.strip()

    shown = seen.good("db", "purge", "--dry-run").out
    assert shown == "1 jobs finished more than 30 days ago.\n"
    assert seen.good("db", "purge", "--dry-run", "--older-than", "5", "--json").json() == {
        "jobs": 2,
        "older_than_days": 5,
        "dry_run": True,
    }
    assert seen.good("db", "purge").out == "1 jobs deleted that finished more than 30 days ago.\n"
    assert seen.run("show", old).status != 0
    assert seen.good("db", "purge", "--older-than", "5", "--json").json() == {
        "jobs": 1,
        "older_than_days": 5,
        "dry_run": False,
    }
    assert seen.run("show", young).status != 0
    assert [one["id"] for one in seen.good("list", "--json").json()] == [unfinished]


def test_without_a_number_of_days_it_says_which_it_wants(seen: Seen) -> None:
    seen.environment["SEEN_RETENTION_DAYS"] = "0"
    refused = seen.run("db", "purge")
    assert refused.status == 2
    assert "--older-than DAYS" in refused.error_line()
    assert seen.good("db", "purge", "--older-than", "3").out.startswith("0 jobs deleted")
    assert not seen.data_dir.exists(), "there is nothing to purge, so nothing is made"
