"""The reporter and a store that goes, comes back, or loses a reply: every byte is counted once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cache.store import scripts
from domain.job import Job, JobStatus
from tests.support.build import cache_manager, new_job
from tests.support.counts import set_counts
from tests.support.reporting import claimed, finished, reporting, shown, tracked
from tests.support.servers.tcp_proxy import Proxy
from tests.support.services.system import System
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until
from worker.leases.drain import Drain
from worker.leases.stop_signal import StopSignal
from worker.progress.reporter import AttemptResult, DownloadTracker

S = JobStatus


# ── a store that goes and comes back ────────────────────────────────────────────────────────────


@pytest.mark.parametrize("lose_data", [True, False])
def test_counts_are_exact_after_the_store_was_away(
    private_store: StoreServer, lose_data: bool
) -> None:
    job = claimed()
    with (
        cache_manager(private_store, cache_timeout=0.3) as manager,
        reporting(manager) as reporter,
    ):
        tracker = tracked(reporter, job)
        set_counts(tracker, downloaded=100)
        reporter.flush()
        if lose_data:
            private_store.kill()
        else:
            private_store.pause()
        for size in (150, 225, 300):
            set_counts(tracker, downloaded=size)
            assert reporter.flush() == 0
        if lose_data:
            private_store.start()
        else:
            private_store.resume()
        wait_until(reporter.flush, what="a reply to the update that had none")
        assert reporter.flush() == 1  # the counts since then
        found = shown(manager, job)
        assert (found.bytes_downloaded, found.sequence) == (300, 3)


def test_an_end_after_a_lost_reply_counts_everything_once(store: StoreServer) -> None:
    job = claimed()
    with Proxy(store.port) as proxy, cache_manager(store, cache_addr=proxy.addr) as manager:
        with reporting(manager) as reporter:
            tracker = tracked(reporter, job)
            reporter.flush()
            set_counts(tracker, downloaded=1000)
            proxy.cut_after_request(b"EVALSHA")
            assert reporter.flush() == 0
            set_counts(tracker, downloaded=1234)
            assert (
                finished(
                    manager, reporter, tracker, AttemptResult(status=S.PAUSED), persisted=False
                )
                is not None
            )
        found = shown(manager, job)
        assert (found.bytes_downloaded, found.status) == (1234, S.PAUSED)


# ── as a runtime builds it ──────────────────────────────────────────────────────────────────────

#: Longer than any test: only what a test flushes itself is reported.
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


def tracked_by(system: System, job: Job) -> DownloadTracker:
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
    tracker = tracked_by(system, job)
    repeated: list[bool] = []
    if fault == "cut":
        proxy.cut_after_request(UPDATE)
    else:
        proxy.drop_next_reply(UPDATE)
    proxy.before(UPDATE, lambda: repeated.append(True))  # a further one, should there be one

    set_counts(tracker, downloaded=150)
    assert system.runtime.reporter.flush() == 0
    assert repeated == []
    assert counted(system, job) == 150  # the server has run it

    set_counts(tracker, downloaded=180)
    assert system.runtime.reporter.flush() == 1
    assert repeated == [True]
    assert counted(system, job) == 150  # the repeated update comes first, and adds nothing
    assert system.runtime.reporter.flush() == 1
    assert counted(system, job) == 180
