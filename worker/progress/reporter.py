"""Sends the progress of this process's downloads to the store, all of them in one round trip.

A transfer only replaces the counts of its `DownloadTracker`; it does no I/O for that. Every
`flush_interval` one thread sends what changed as (fence, sequence, increment), and reads in the reply
whether a pause or cancel is requested.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType, TracebackType
from typing import Any, Self

from cache.downloads.download_cache import DownloadCache
from cache.downloads.indexes import BATCH
from cache.downloads.progress_hash import ProgressUpdate, UpdateReply
from cache.downloads.updates import applied_bytes
from cache.store.flow import Flow
from domain.byte_counts import ByteCounts
from domain.errors import (
    CancelledError,
    FencedError,
    PausedError,
    SeenError,
    StoreError,
)
from domain.history import requested
from domain.job import RUNNING, Job, JobStatus
from worker.leases.lease import Lease
from worker.leases.stop_signal import StopSignal
from worker.outages import OutageLog
from worker.periodic_thread import PeriodicThread
from worker.progress.speed import SpeedMeter
from worker.progress.trouble import NO_TROUBLE, AttemptTrouble

logger = logging.getLogger(__name__)

_STOPS: Mapping[str, type[SeenError]] = MappingProxyType(
    {"cancel": CancelledError, "pause": PausedError, "leave": FencedError}
)


def stop_error(control: str) -> SeenError:
    """Return the error that ends a download on the control ``pause``, ``cancel`` or ``leave``."""
    return _STOPS[control](requested(control))


_REPORTING = "Progress is not reported"

#: Smaller changes of speed are not sent: the store keeps 0.001 megabits per second.
_SPEED_STEP = 125.0

#: A download without new progress reads its control field this often. Seconds.
POLL_INTERVAL = 0.5

#: So many downloads are updated with every flush; of more, each is updated less often.
OFTEN_UPDATED = 250
#: The longest pause between two updates of a download whose bytes change. Seconds.
MAX_PAUSE = 1.0


def update_pause(downloads: int, flush_interval: float, heartbeat: float) -> float:
    """Return the seconds between two updates of a download when so many run."""
    return min(MAX_PAUSE, heartbeat, flush_interval * (downloads // OFTEN_UPDATED))


def _ignore(_received: int) -> None:
    """Count no bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptResult:
    """How one attempt ended: the state in which it leaves the job, the reason, and the file."""

    status: JobStatus
    reason: str | None = None
    error_code: str | None = None
    path: str | None = None
    sha256: str | None = None
    verification: str | None = None
    """How a completed file was verified: the digests that were compared, and its validators."""
    cause: str = ""
    """The code of the error that ended the attempt, also where that was on purpose; for metrics."""
    may_repeat: bool = False
    """The store caused this end and may cause more: the history counts repetitions in one event."""

    def details(self) -> dict[str, Any]:
        """Return the fields that the job's row and its progress hash have in common."""
        return {
            "reason": self.reason,
            "error_code": self.error_code,
            "path": self.path,
            "sha256": self.sha256,
        }


class DownloadTracker:
    """The progress of one running download. Only its attempt writes `counts`, `status` and `trouble`.

    Attributes:
        counts: the byte counts; replaced as a whole, so that other threads read one record.
        status: downloading or verifying.
        trouble: what holds it up; None for nothing that its speed does not say.
        last: its last update, when that is under way or sent.
    """

    def __init__(
        self,
        job: Job,
        stop: StopSignal,
        now: float,
        lease: Lease | None = None,
        on_received: Callable[[int], None] = _ignore,
    ) -> None:
        self.job_id, self.user_id, self.fence = job.id, job.user_id, job.fence
        self.stop = stop
        self._lease = lease
        self.status = JobStatus.DOWNLOADING
        self.trouble: AttemptTrouble | None = None
        self._has_shown_trouble = False
        # The durable bytes of the earlier attempt, until the transfer starts and corrects them.
        self.counts = ByteCounts(job.bytes_durable, job.bytes_durable, job.bytes_total)
        # Held while an update is made or acknowledged, not while it is sent.
        self._mutex = threading.Lock()
        self._reset = False
        self._sequence = 0
        self._last_sent_size = self.counts.downloaded
        self._last_sent: tuple[object, ...] | None = None
        self._last_sent_at = self._last_reply_at = now
        self._unacknowledged: ProgressUpdate | None = None
        self.last: ProgressUpdate | None = None
        self._speed = SpeedMeter(now, self.counts.downloaded)
        self._on_received, self._passed_on = on_received, self.counts.downloaded

    def update(self, counts: ByteCounts) -> None:
        """Replace the byte counts."""
        self.counts = counts

    def restart(self, counts: ByteCounts) -> None:
        """Set the byte counts from which a transfer starts; the difference counts as no new bytes."""
        with self._mutex:
            self._pass_on_received()
            self.counts, self._passed_on = counts, counts.downloaded
            self._reset = True
            self._speed = SpeedMeter(time.monotonic(), counts.downloaded)

    def next_update(
        self, now: float, heartbeat: float, pause: float = 0.0
    ) -> ProgressUpdate | None:
        """Return the update to send now, or None. If the last one got no reply, it is returned again.

        Args:
            now: monotonic seconds.
            heartbeat: seconds after which unchanged progress is sent again.
            pause: seconds from one update to the next at least.
        """
        with self._mutex:
            if self.last is not None or not self.has_lease:
                # The attempt finished while a flush was running, or another worker may have the job.
                return None
            if self._unacknowledged is not None:
                return self._unacknowledged
            if self._last_sent is not None and now - self._last_sent_at < pause:
                return None
            self._pass_on_received()
            counts = self.counts
            speed = self._speed.sample(now, counts.downloaded)
            sent = (counts, self.status, round(speed / _SPEED_STEP), self.trouble)
            if sent == self._last_sent and now - self._last_sent_at < heartbeat:
                return None
            self._last_sent, self._last_sent_at = sent, now
            return self._update(self.status, counts, speed)

    def end(self) -> None:
        """Pass on the bytes received: no update follows."""
        with self._mutex:
            self._pass_on_received()

    def _pass_on_received(self) -> None:
        size = self.counts.downloaded
        if size > self._passed_on:
            self._on_received(size - self._passed_on)
        self._passed_on = size

    @property
    def has_lease(self) -> bool:
        """Whether no other worker can have the job's lock by now."""
        lease = self._lease
        return lease is None or not (lease.is_released or lease.is_expired())

    def needs_poll(self, now: float) -> bool:
        """Return whether it is time to read the control field."""
        return self.last is None and now - self._last_reply_at >= POLL_INTERVAL

    def final_updates(self, result: AttemptResult, *, persisted: bool) -> list[ProgressUpdate]:
        """Return the update without a reply, if there is one, and the last update."""
        with self._mutex:
            unacknowledged = [] if self._unacknowledged is None else [self._unacknowledged]
            last = self._update(
                result.status, self.counts, 0.0, persisted=persisted, **result.details()
            )
            self.last = last
            return [*unacknowledged, last]

    def _update(
        self, status: JobStatus, counts: ByteCounts, speed: float, **last: Any
    ) -> ProgressUpdate:
        size = counts.downloaded
        self._sequence += 1
        reset, self._reset = self._reset or size < self._last_sent_size, False
        trouble = self.trouble if status in RUNNING else None
        if trouble is not None or self._has_shown_trouble:
            self._has_shown_trouble = True
            (trouble or NO_TROUBLE).fill(last)
        increment = 0 if reset else size - self._last_sent_size
        self._last_sent_size = size
        self._unacknowledged = ProgressUpdate(
            job_id=self.job_id,
            user_id=self.user_id,
            fence=self.fence,
            sequence=self._sequence,
            status=status,
            increment=increment,
            counts=counts if counts.durable <= size else replace(counts, durable=size),
            speed=speed,
            reset=reset,
            **last,
        )
        return self._unacknowledged

    def on_update_reply(self, update: ProgressUpdate, reply: UpdateReply) -> None:
        """Handle the reply to an update."""
        with self._mutex:
            if self._unacknowledged is update:
                self._unacknowledged = None
        self.on_reply(reply)

    def on_reply(self, reply: UpdateReply) -> None:
        """Stop the transfer if a newer claim exists, or a pause or cancel is requested."""
        self._last_reply_at = time.monotonic()
        if reply.fenced:
            self.stop.set(FencedError(f"Job {self.job_id} belongs to a newer claim."))
        elif reply.control is not None and reply.control in _STOPS:
            self.stop.set(stop_error(reply.control))


class ProgressReporter:
    """Sends the progress of all downloads of this process.

    Args:
        cache: writes it. It must not retry by itself: the next flush sends an update again.
        flush_interval: seconds between two flushes.
        heartbeat_interval: seconds after which unchanged progress is sent again, to renew its TTL.
        on_received: called with the bytes that came from origins since the last call, in any thread.
    """

    def __init__(
        self,
        cache: DownloadCache,
        *,
        flush_interval: float,
        heartbeat_interval: float,
        on_received: Callable[[int], None] = _ignore,
    ) -> None:
        self._cache, self._on_received = cache, on_received
        self._heartbeat, self._flush_interval = heartbeat_interval, flush_interval
        self._trackers: dict[str, DownloadTracker] = {}
        self._mutex = threading.Lock()
        #: Of finished downloads; the next flush adds them to the rate of all downloads.
        self._finished_bytes = 0
        self._thread = PeriodicThread("progress", self._flush, flush_interval)
        self._outages = OutageLog(logger)

    def track(self, job: Job, stop: StopSignal, lease: Lease | None = None) -> DownloadTracker:
        """Report a claimed job from the next flush on, until it is finished or its lease has expired."""
        tracker = DownloadTracker(job, stop, time.monotonic(), lease, self._on_received)
        with self._mutex:
            self._trackers[job.id] = tracker
        self._thread.start()
        return tracker

    def untrack(self, tracker: DownloadTracker) -> None:
        """Stop reporting a job without a last update."""
        tracker.end()
        with self._mutex:
            if self._trackers.get(tracker.job_id) is tracker:
                del self._trackers[tracker.job_id]

    def finish_flow(
        self, tracker: DownloadTracker, result: AttemptResult, *, persisted: bool
    ) -> Flow[int | None]:
        """Stop reporting a job, and send its last state in one round trip.

        Args:
            tracker: of the job.
            result: its last state.
            persisted: SQL has this state; else `persist_progress` copies it there.

        Returns:
            The progress version sent; None when the store did not answer, or has a newer claim.
        """
        self.untrack(tracker)
        if not tracker.has_lease:  # this was delayed: another worker may have the job
            return None
        updates = tracker.final_updates(result, persisted=persisted)
        try:
            replies = yield from DownloadCache.apply.flow(self._cache, updates, is_end=True)
        except StoreError as error:
            logger.warning(
                "The last state of job %s is not in the store: %s", tracker.job_id, error
            )
            return None
        with self._mutex:
            self._finished_bytes += applied_bytes(updates, replies)
        return None if replies[-1].fenced else updates[-1].version

    def flush(self) -> int:
        """Send everything that changed, once; return how many updates got a reply."""
        return self._flush_all(self._list_trackers(), pause=0.0)

    def _list_trackers(self) -> list[DownloadTracker]:
        with self._mutex:
            return list(self._trackers.values())

    def _flush_all(self, trackers: list[DownloadTracker], pause: float) -> int:
        starts = range(0, len(trackers), BATCH) or [0]
        return sum(self._flush_batch(trackers[start : start + BATCH], pause) for start in starts)

    def close(self) -> None:
        """Stop the thread, and flush a last time."""
        self._thread.close()
        self.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _flush(self) -> None:
        trackers = self._list_trackers()
        pause = update_pause(len(trackers), self._flush_interval, self._heartbeat)
        # Without returning its result, which would be taken for the next interval.
        self._flush_all(trackers, pause)

    def _flush_batch(self, trackers: list[DownloadTracker], pause: float) -> int:
        now = time.monotonic()
        sent: list[tuple[DownloadTracker, ProgressUpdate]] = []
        polled: list[DownloadTracker] = []
        for tracker in trackers:
            update = tracker.next_update(now, self._heartbeat, pause)
            if update is not None:
                sent.append((tracker, update))
            elif tracker.needs_poll(now):
                polled.append(tracker)
        with self._mutex:
            finished_bytes, self._finished_bytes = self._finished_bytes, 0
        if not sent and not polled and not finished_bytes:
            return 0
        try:
            self._send(sent, polled, finished_bytes)
        except StoreError as error:
            self._outages.record_failure(_REPORTING, error)
            return 0
        self._outages.record_success(_REPORTING)
        return len(sent)

    def _send(
        self,
        sent: list[tuple[DownloadTracker, ProgressUpdate]],
        polled: list[DownloadTracker],
        finished_bytes: int,
    ) -> None:
        replies = self._cache.apply(
            [update for _, update in sent],
            [(tracker.job_id, tracker.fence) for tracker in polled],
            finished_bytes=finished_bytes,
        )
        for (tracker, update), reply in zip(sent, replies, strict=False):
            tracker.on_update_reply(update, reply)
        for tracker, reply in zip(polled, replies[len(sent) :], strict=True):
            tracker.on_reply(reply)
        # Their last update may have arrived before the one that this flush sent, which has then listed
        # them as active: send it again.
        # Not after the release: the hash may be that of a newer claim, or have been and be gone.
        overtaken = [
            tracker.last for tracker, _ in sent if tracker.last is not None and tracker.has_lease
        ]
        if overtaken:
            self._cache.apply(overtaken)
