"""The reporter: byte counts that arrive once, heartbeats, stop requests, and the final counts."""

from __future__ import annotations

from typing import Any

import pytest

from cache import CacheManager, DownloadProgress
from domain.byte_counts import ByteCounts
from domain.errors import CancelledError, FencedError, PausedError
from domain.job import JobStatus
from tests.support.build import cache_manager
from tests.support.counts import set_counts
from tests.support.reporting import claimed, finished, reporting, shown, tracked
from tests.support.servers.tcp_proxy import Proxy
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until
from worker.leases.drain import Drain
from worker.leases.stop_signal import StopSignal
from worker.progress.reporter import AttemptResult, DownloadTracker

S = JobStatus


# ── what is reported ─────────────────────────────────────────────────────────────────────────────


def test_the_first_flush_shows_the_download(manager: CacheManager) -> None:
    job = claimed(user_id="me")
    with reporting(manager) as reporter:
        tracked(reporter, job)
        assert reporter.flush() == 1
        found = shown(manager, job)
        assert (found.status, found.fence, found.user_id) == (S.DOWNLOADING, 1, "me")
        assert manager.download.get_active_downloads() == [found]


def test_counts_arrive_by_themselves(manager: CacheManager) -> None:
    job = claimed()
    with reporting(manager, flush=0.01) as reporter:
        tracker = tracked(reporter, job)
        set_counts(tracker, total=1000)
        for size in range(100, 1001, 100):
            set_counts(tracker, downloaded=size)
            wait_until(
                lambda size=size: (  # type: ignore[misc]
                    (found := manager.download.get_progress(job.id))
                    and found.bytes_downloaded == size
                )
            )
        assert shown(manager, job).progress_percent == 100.0


def test_nothing_is_sent_while_nothing_changes(manager: CacheManager) -> None:
    with reporting(manager) as reporter:
        tracker = tracked(reporter, claimed())
        assert reporter.flush() == 1
        assert reporter.flush() == 0
        set_counts(tracker, downloaded=5, durable=5)
        assert reporter.flush() == 1


def test_a_silent_download_is_kept_alive_by_its_heartbeat(store: StoreServer) -> None:
    settings: dict[str, Any] = {"heartbeat_interval": 0.05, "flush_interval": 0.02}
    job = claimed()
    with (
        cache_manager(store, progress_ttl=0.8, **settings) as manager,
        reporting(manager, flush=0.02, heartbeat=0.05) as reporter,
    ):
        tracked(reporter, job)
        wait_until(lambda: manager.download.get_progress(job.id))
        first = shown(manager, job).updated_at
        assert first is not None
        # Longer than its TTL; every read finds it.
        wait_until(
            lambda: (now := shown(manager, job).updated_at) and (now - first).total_seconds() > 1,
            interval=0.01,
        )
        assert shown(manager, job).last_byte_at is None


def test_durable_bytes_are_never_more_than_bytes(manager: CacheManager) -> None:
    job = claimed()
    with reporting(manager) as reporter:
        tracker = tracked(reporter, job)
        set_counts(tracker, downloaded=10, durable=20)
        reporter.flush()
        assert shown(manager, job).bytes_durable == 10


def test_a_restart_sets_the_counts_and_no_speed(manager: CacheManager) -> None:
    job = claimed()
    with reporting(manager) as reporter:
        tracker = tracked(reporter, job)
        for size in (10**15, 0, 300):
            tracker.restart(ByteCounts(size, size))
            reporter.flush()
            assert shown(manager, job).bytes_downloaded == size
            assert shown(manager, job).download_speed_mbps == 0.0
        # Bytes that were on disk before were not just received.
        assert shown(manager, job).last_byte_at is None
        set_counts(tracker, downloaded=350)
        reporter.flush()
        assert shown(manager, job).bytes_downloaded == 350
        assert shown(manager, job).last_byte_at is not None
        assert shown(manager, job).bytes_durable == 300


def test_many_downloads_share_a_round_trip(store: StoreServer) -> None:
    jobs = [claimed() for _ in range(30)]
    with Proxy(store.port) as proxy, cache_manager(store, cache_addr=proxy.addr) as manager:
        with reporting(manager) as reporter:
            trackers = [tracked(reporter, job) for job in jobs]
            reporter.flush()
            for number, tracker in enumerate(trackers):
                set_counts(tracker, downloaded=number + 1)
            before = proxy.round_trips
            assert reporter.flush() == 30
            assert proxy.round_trips - before < 10
        counts = [shown(manager, job).bytes_downloaded for job in jobs]
    assert counts == list(range(1, 31))


# ── control requests ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("control", "error"), [("cancel", CancelledError), ("pause", PausedError)])
def test_a_control_request_stops_the_download(
    manager: CacheManager, control: str, error: type[Exception]
) -> None:
    job = claimed()
    with reporting(manager) as reporter:
        tracker = tracked(reporter, job)
        reporter.flush()
        manager.download.request_control(job.id, control, job.fence)
        set_counts(tracker, downloaded=1)
        reporter.flush()
        assert isinstance(tracker.stop.error, error)


def test_a_silent_download_gets_a_control_request_with_its_next_heartbeat(
    manager: CacheManager,
) -> None:
    job = claimed()
    with reporting(manager, flush=0.02, heartbeat=0.05) as reporter:
        tracker = tracked(reporter, job)
        manager.download.request_control(job.id, "cancel", job.fence)
        wait_until(lambda: tracker.stop.error)


@pytest.mark.parametrize(("control", "fence"), [("cancel", 2), ("dance", 1)])
def test_a_control_request_of_another_claim_or_of_unknown_kind_stops_nothing(
    manager: CacheManager, control: str, fence: int
) -> None:
    job = claimed()
    with reporting(manager) as reporter:
        tracker = tracked(reporter, job)
        manager.download.request_control(job.id, control, fence)
        reporter.flush()
        assert tracker.stop.error is None


def test_a_newer_claim_stops_the_download(manager: CacheManager) -> None:
    job = claimed()
    with reporting(manager) as reporter:
        tracker = tracked(reporter, job)
        newer = DownloadProgress(job_id=job.id, status=S.DOWNLOADING, fence=2, bytes_downloaded=7)
        manager.download.set_progress(newer)
        set_counts(tracker, downloaded=99)
        reporter.flush()
        assert isinstance(tracker.stop.error, FencedError)
        assert shown(manager, job).bytes_downloaded == 7
        assert (
            finished(manager, reporter, tracker, AttemptResult(status=S.FAILED), persisted=False)
            is None
        )
        assert shown(manager, job).status is S.DOWNLOADING


# ── the final counts ───────────────────────────────────────────────────────────────────────────────


def test_the_end_is_sent_at_once(manager: CacheManager) -> None:
    job = claimed()
    with reporting(manager) as reporter:
        tracker = tracked(reporter, job)
        reporter.flush()
        set_counts(tracker, downloaded=10, durable=10, total=10)
        result = AttemptResult(status=S.COMPLETED, path="/x/film.mkv", sha256="a" * 64)
        version = finished(manager, reporter, tracker, result, persisted=False)
        found = shown(manager, job)
        assert (found.status, found.path, found.sha256) == (S.COMPLETED, "/x/film.mkv", "a" * 64)
        assert (found.bytes_downloaded, found.version) == (10, version)
        assert found.download_speed_mbps == 0.0
        assert manager.download.get_active_downloads() == []
        assert (job.id, version) in manager.download.dirty()
        set_counts(tracker, downloaded=99)
        assert reporter.flush() == 0
        assert shown(manager, job) == found


def test_an_end_the_database_has_is_not_marked_unsaved(manager: CacheManager) -> None:
    job = claimed()
    with reporting(manager) as reporter:
        tracker = tracked(reporter, job)
        result = AttemptResult(status=S.FAILED, reason="404", error_code="http_404")
        assert finished(manager, reporter, tracker, result, persisted=True) is not None
    assert shown(manager, job).reason == "404"
    assert manager.download.dirty() == []
    assert manager.client.pttl(manager.keys.download_job_key(job.id)) <= 30_000


def test_an_end_without_a_store_is_no_error(private_store: StoreServer) -> None:
    with cache_manager(private_store) as manager, reporting(manager) as reporter:
        tracker = tracked(reporter, claimed())
        private_store.kill()
        assert (
            finished(manager, reporter, tracker, AttemptResult(status=S.COMPLETED), persisted=False)
            is None
        )
        assert reporter.flush() == 0


def test_a_flush_that_comes_after_the_end_adds_nothing_to_it(manager: CacheManager) -> None:
    tracker = DownloadTracker(claimed(), StopSignal(Drain()), 0.0)
    tracker.final_updates(AttemptResult(status=S.COMPLETED), persisted=True)
    # As when the flusher listed its trackers just before the end.
    assert tracker.next_update(10.0, 0.0) is None


def test_a_job_that_is_tracked_again_is_not_untracked_by_its_predecessor(
    manager: CacheManager,
) -> None:
    job = claimed()
    with reporting(manager) as reporter:
        old = tracked(reporter, job)
        new = tracked(reporter, claimed(id=job.id, fence=2))
        reporter.untrack(old)
        set_counts(new, downloaded=5)
        assert reporter.flush() == 1
        assert shown(manager, job).fence == 2


def test_closing_sends_the_last_byte_counts(manager: CacheManager) -> None:
    job = claimed()
    with reporting(manager) as reporter:
        set_counts(tracked(reporter, job), downloaded=77)
    assert shown(manager, job).bytes_downloaded == 77
