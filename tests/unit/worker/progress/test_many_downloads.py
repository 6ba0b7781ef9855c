"""With many downloads each is updated less often, and hears of a pause or cancel as soon as before."""

from __future__ import annotations

import pytest

from cache.downloads.progress_hash import UpdateReply
from domain.byte_counts import ByteCounts
from tests.support.reporting import claimed
from worker.leases.drain import Drain
from worker.leases.stop_signal import StopSignal
from worker.progress.reporter import POLL_INTERVAL, DownloadTracker, update_pause

HEARTBEAT = 10.0


@pytest.mark.parametrize(
    ("downloads", "flush", "heartbeat", "pause"),
    [
        (0, 0.25, 10, 0.0),
        (1, 0.25, 10, 0.0),
        (249, 0.25, 10, 0.0),
        (250, 0.25, 10, 0.25),
        (500, 0.25, 10, 0.5),
        (1000, 0.25, 10, 1.0),
        (5000, 0.25, 10, 1.0),  # never longer than a second
        (1000, 0.25, 0.5, 0.5),  # nor than a heartbeat, which keeps the hash alive
    ],
)
def test_the_pause_grows_with_the_number_of_downloads(
    downloads: int, flush: float, heartbeat: float, pause: float
) -> None:
    assert update_pause(downloads, flush, heartbeat) == pause


def test_new_bytes_wait_for_the_pause_and_control_requests_do_not() -> None:
    tracker = DownloadTracker(claimed(), StopSignal(Drain()), 0.0)
    first = tracker.next_update(100.0, HEARTBEAT, 1.0)
    assert first is not None  # at once: it shows the download
    tracker.on_update_reply(first, UpdateReply(applied=True, fenced=False, control=None))
    tracker.update(ByteCounts(7))
    assert tracker.next_update(100.9, HEARTBEAT, 1.0) is None
    second = tracker.next_update(101.0, HEARTBEAT, 1.0)
    assert second is not None
    assert second.counts.downloaded == 7


def test_a_download_that_waits_for_the_pause_reads_its_control_requests() -> None:
    tracker = DownloadTracker(claimed(), StopSignal(Drain()), 50.0)
    assert not tracker.needs_poll(50.0 + 0.9 * POLL_INTERVAL)
    assert tracker.needs_poll(50.0 + POLL_INTERVAL)


def test_an_update_without_a_reply_is_sent_again_without_a_pause() -> None:
    tracker = DownloadTracker(claimed(), StopSignal(Drain()), 0.0)
    first = tracker.next_update(100.0, HEARTBEAT, 1.0)
    assert tracker.next_update(100.1, HEARTBEAT, 1.0) is first
