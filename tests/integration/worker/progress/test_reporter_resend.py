"""The reporter as a runtime builds it: what got no answer is told once, and again by the next flush."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cache.store import scripts
from domain.job import Job, JobStatus
from tests.support.build import new_job
from tests.support.counts import set_counts
from tests.support.servers.tcp_proxy import Proxy
from tests.support.services.system import System
from tests.support.stores.server import StoreServer
from worker.leases.drain import Drain
from worker.leases.stop_signal import StopSignal
from worker.progress.reporter import DownloadTracker

#: Longer than any test: only what a test flushes by hand is told.
BY_HAND = {
    "SEEN_FLUSH_INTERVAL": "3600",
    "SEEN_HEARTBEAT_INTERVAL": "3600",
    "SEEN_PROGRESS_TTL": "3600",
    "SEEN_CACHE_TIMEOUT": "0.3",
}
#: How an update of progress shows on the wire.
UPDATE = scripts.digest("progress_update").encode()


@pytest.fixture
def proxy(store: StoreServer) -> Iterator[Proxy]:
    with Proxy(store.port) as proxy:
        yield proxy


@pytest.fixture
def system(tmp_path: Path, store: StoreServer, proxy: Proxy) -> Iterator[System]:
    settings = {**BY_HAND, "SEEN_CACHE_ADDR": proxy.addr}
    with System(tmp_path, store, settings=settings) as system:
        yield system


def tracked(system: System, job: Job) -> DownloadTracker:
    """A download that the store knows, and whose script it knows."""
    tracker = system.runtime.reporter.track(job, StopSignal(Drain()))
    set_counts(tracker, downloaded=100)
    assert system.runtime.reporter.flush() == 1
    return tracker


def counted(system: System, job: Job) -> int:
    progress = system.runtime.cache.download.get_progress(job.id)
    assert progress is not None
    return progress.bytes_downloaded


@pytest.mark.parametrize("fault", ["silence", "cut"])
def test_a_flush_without_answer_runs_once_until_the_next_one_repeats_it(
    system: System, proxy: Proxy, fault: str
) -> None:
    job = new_job(status=JobStatus.DOWNLOADING, fence=1)
    tracker = tracked(system, job)
    repeated: list[bool] = []
    if fault == "cut":
        proxy.cut_after_request(UPDATE)
    else:
        proxy.drop_next_reply(UPDATE)
    proxy.before(UPDATE, lambda: repeated.append(True))  # the one after it, should there be one

    set_counts(tracker, downloaded=150)
    assert system.runtime.reporter.flush() == 0
    assert repeated == []
    assert counted(system, job) == 150  # the server did run it

    set_counts(tracker, downloaded=180)
    assert system.runtime.reporter.flush() == 1
    assert repeated == [True]
    assert counted(system, job) == 150  # what was owed first, and it adds nothing
    assert system.runtime.reporter.flush() == 1
    assert counted(system, job) == 180
