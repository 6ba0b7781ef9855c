"""The reporter and a store that goes, comes back, or loses a reply: every byte is counted once."""

from __future__ import annotations

import pytest

from domain.job import JobStatus
from tests.support.build import cache_manager
from tests.support.counts import set_counts
from tests.support.reporting import claimed, reporting, told, tracked
from tests.support.servers.tcp_proxy import Proxy
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until
from worker.progress.reporter import AttemptResult

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
        wait_until(reporter.flush, what="an answer to what was left without one")
        assert reporter.flush() == 1  # what came since
        found = told(manager, job)
        assert (found.bytes_downloaded, found.sequence) == (300, 3)


def test_an_increment_whose_reply_was_cut_is_counted_once(store: StoreServer) -> None:
    job = claimed()
    with Proxy(store.port) as proxy, cache_manager(store, cache_addr=proxy.addr) as manager:
        with reporting(manager) as reporter:
            tracker = tracked(reporter, job)
            reporter.flush()
            set_counts(tracker, downloaded=1000)
            proxy.cut_after_request(b"EVALSHA")
            assert reporter.flush() == 0
            # The server has run it; the reporter does not know that.
            with cache_manager(store) as direct:
                assert told(direct, job).bytes_downloaded == 1000
            set_counts(tracker, downloaded=1500)
            assert reporter.flush() == 1
            assert told(manager, job).bytes_downloaded == 1000
            assert reporter.flush() == 1
        assert proxy.idle
        assert told(manager, job).bytes_downloaded == 1500


def test_a_reply_that_never_comes_is_waited_for_no_longer_than_the_timeout(
    store: StoreServer,
) -> None:
    job = claimed()
    with (
        Proxy(store.port) as proxy,
        cache_manager(store, cache_addr=proxy.addr, cache_timeout=0.1) as manager,
        reporting(manager) as reporter,
    ):
        tracker = tracked(reporter, job)
        reporter.flush()
        set_counts(tracker, downloaded=5)
        proxy.drop_next_reply(b"EVALSHA")
        assert reporter.flush() == 0
        assert reporter.flush() == 1
        assert told(manager, job).bytes_downloaded == 5


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
                reporter.finish(tracker, AttemptResult(status=S.PAUSED), persisted=False)
                is not None
            )
        found = told(manager, job)
        assert (found.bytes_downloaded, found.status) == (1234, S.PAUSED)
