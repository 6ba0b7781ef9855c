"""The watcher notes numbers that cannot be true, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from domain.job import JobStatus
from tests.chaos.watcher import Watcher
from tests.support.build import new_job, progress
from tests.support.services.operations import claim
from tests.support.services.system import System
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until

#: TTL of a hash that is not renewed. Seconds.
TTL = 10.0
TOLD = datetime(2026, 3, 1, tzinfo=UTC)
#: Bytes that the origin of these tests has sent of any file.
SENT = 5


@pytest.fixture
def system(tmp_path: Path, store: StoreServer) -> Iterator[System]:
    """One without processes."""
    with System(tmp_path, store) as system:
        yield system


@pytest.fixture
def watcher(system: System) -> Watcher:
    """One that looks at nothing by itself."""
    return Watcher(system.runtime, list, lambda _path: SENT, TTL)


def row(**values: Any) -> Any:
    return new_job(**{"id": "j", "status": JobStatus.DOWNLOADING, "fence": 1, **values})


def test_what_is_true_is_no_finding(watcher: Watcher) -> None:
    watcher.see_row(row(worker="a", bytes_durable=1, bytes_downloaded=2, bytes_total=2))
    watcher.see_row(row(worker="b", fence=2))
    watcher.see_progress(row(), progress("j", bytes_durable=1, bytes_downloaded=2, bytes_total=2))
    watcher.see_progress(row(), progress("j", fence=2))
    assert not watcher.findings


@pytest.mark.parametrize(
    "counts",
    [
        {"bytes_downloaded": 3, "bytes_total": 2},
        {"bytes_downloaded": 3, "bytes_durable": 4},
        {"bytes_downloaded": SENT + 1},
    ],
)
def test_counts_that_cannot_be(watcher: Watcher, counts: dict[str, int]) -> None:
    watcher.see_row(row(**counts))
    assert len(watcher.findings) == 1
    watcher.see_progress(row(), progress("j", **counts))
    assert len(watcher.findings) == 2


def test_a_fence_that_falls(watcher: Watcher) -> None:
    watcher.see_row(row(fence=2))
    watcher.see_row(row(fence=1))
    assert list(watcher.findings) == [("j", "the row has claim 1 after claim 2")]


def progress_of(fence: int, seconds: float = 0) -> Any:
    """The progress hash of a claim, so many seconds after the first one."""
    return progress("j", fence=fence, updated_at=TOLD + timedelta(seconds=seconds))


def test_an_old_claim_that_overwrites_a_newer_ones_counts_is_found(watcher: Watcher) -> None:
    watcher.see_progress(row(fence=2), progress_of(2))
    watcher.see_progress(row(fence=2), progress_of(1, TTL - 0.1))
    assert len(watcher.findings) == 1


def test_an_old_claim_that_is_shown_in_place_of_a_newer_one(watcher: Watcher) -> None:
    watcher.see_progress(row(fence=2), progress_of(2))
    watcher.see_progress(row(fence=1), progress_of(1, TTL))
    assert list(watcher.findings) == [("j", "the hash has claim 1 after claim 2, and is shown")]


def test_a_late_update_of_an_old_claim_that_is_not_shown_is_no_finding(watcher: Watcher) -> None:
    watcher.see_progress(row(fence=2), progress_of(2))
    watcher.see_progress(row(fence=2), progress_of(1, TTL))
    assert not watcher.findings


def test_a_store_may_go_back_to_an_older_fence(watcher: Watcher) -> None:
    watcher.see_progress(row(), progress_of(2))
    watcher.store_went_back()
    watcher.see_progress(row(), progress_of(1))
    assert not watcher.findings


def test_two_workers_with_one_claim(watcher: Watcher) -> None:
    watcher.see_row(row(worker="a"))
    watcher.see_row(row(worker="b"))
    assert list(watcher.findings) == [("j", "claim 1 belongs to a and to b")]


def test_it_looks_at_what_is_under_way(system: System) -> None:
    job = system.submit("http://127.0.0.1:1/film.mkv")
    assert claim(system.runtime.jobs, job.id, worker="w", now=system.runtime.now()) is not None
    system.runtime.cache.download.set_progress(progress(job.id, bytes_downloaded=3, bytes_total=2))
    watcher = Watcher(system.runtime, lambda: [job.id], lambda _path: SENT, TTL)
    watcher.start()
    wait_until(lambda: watcher.findings)
    watcher.close()
    assert list(watcher.findings) == [(job.id, "the hash has 3 bytes of 2")]
