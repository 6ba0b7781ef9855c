"""Fetches one file into a destination over one or more connections. Read this first in this folder.

A transfer starts with one request; its response describes the file. More connections, each for one
segment of the file, are opened while they save time. Everything runs in the caller's thread; fsync and
hashing have threads of their own. The engine knows no queues, locks or SQL.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Self

from domain.errors import CancelledError, FencedError, PermanentError, SeenError
from worker.storage.destination import Destination
from worker.transfer.connection import Connection
from worker.transfer.connection_policy import MIN_MEASURE_TIME, ConnectionPolicy
from worker.transfer.connection_pool import ConnectionPool, running_transfers
from worker.transfer.http.request import Request
from worker.transfer.interfaces import (
    EngineResources,
    ProgressSink,
    TransferQuota,
    TransferSpec,
    UnlimitedQuota,
)
from worker.transfer.outcomes import RequestOutcomes
from worker.transfer.output_file import OutputFile, TransferResult
from worker.transfer.segments import Segment, SegmentMap
from worker.transfer.sources import Sources
from worker.transfer.stall_detector import MinimumThroughput, StallDetector, stall_error
from worker.transfer.token_bucket import TokenBucket

logger = logging.getLogger(__name__)

#: A stop, or a changed rate, takes effect within this time. Seconds.
_POLL_INTERVAL = 0.2
#: The loop waits for about this many bytes: an iteration costs more than handling fewer.
_COALESCE_BYTES = 256 * 1024
#: The longest such wait, and the shortest that is worth a sleep. Seconds.
_MAX_COALESCE = 0.25
_MIN_COALESCE = 0.005
#: After its response, a connection is served without such waits for this long. Seconds.
_WARM_UP = 0.3


class Transfer:
    """One attempt to fetch what is missing of one file. Close it before its destination, or use `with`.

    Args:
        spec: what to fetch.
        destination: open for this attempt.
        progress: receives the byte counts, and holds the stop flag.
        resources: shared by all transfers of the process.
        check_may_write: called before every write; raises when the lease is lost.
        quota: this transfer's part of shared limits.
        add_note: adds a sentence to the job's history, when bytes are discarded for example.
    """

    def __init__(
        self,
        spec: TransferSpec,
        destination: Destination,
        progress: ProgressSink,
        *,
        resources: EngineResources,
        check_may_write: Callable[[], None],
        quota: TransferQuota | None = None,
        add_note: Callable[[str], None] = logger.info,
    ) -> None:
        self._progress, self._options = progress, resources.options
        self._check_may_write, self._add_note = check_may_write, add_note
        #: From libcurl's callbacks, which must not wait for the database; `_forward_notes` saves them.
        self._pending_notes: list[str] = []
        self._quota = quota or UnlimitedQuota()
        now = time.monotonic()
        self._stall = StallDetector(now)
        self._min_throughput = MinimumThroughput(self._options.min_bytes_per_minute)
        self._bucket = TokenBucket(self._quota, now)
        self._sources = Sources(spec, destination.checkpoint.source)
        self._policy = ConnectionPolicy(self._options, self._quota, spec.connections)
        self._pool = ConnectionPool(self._sources, resources, self._bucket)
        self._output = OutputFile(
            spec,
            destination,
            progress,
            resources=resources,
            check_may_write=check_may_write,
            add_note=self._pending_notes.append,
        )
        self._outcomes = RequestOutcomes(
            spec,
            self._options,
            output=self._output,
            sources=self._sources,
            pool=self._pool,
            policy=self._policy,
            stall=self._stall,
        )

    async def run(self) -> TransferResult:
        """Do `run_sync` in a thread."""
        loop, note = asyncio.get_running_loop(), self._add_note

        def add_note(text: str) -> None:
            loop.call_soon_threadsafe(note, text)

        self._add_note = add_note
        try:
            return await asyncio.to_thread(self.run_sync)
        finally:
            self._add_note = note

    def run_sync(self) -> TransferResult:
        """Fetch what is missing; return when the file is complete.

        Raises:
            TransientError, PermanentError: the origin or the network failed.
            DiskFullError: there is not enough space.
            StoppedError, FencedError: the stop flag is set, or the lease is lost.
        """
        self._pool.use_thread()
        try:
            with running_transfers.counted():
                self._outcomes.resume()
                while self._pool.connections or not self._segments.is_complete:
                    self._check_may_continue()
                    self._open_connections()
                    self._serve_connections()
                    self._forward_notes()
                return self._output.complete()
        except SeenError as error:
            self._outcomes.close_all()
            self._checkpoint_after(error)
            raise
        finally:
            self._outcomes.close_all()
            self._forward_notes()

    async def digests(self, check: Callable[[], None]) -> dict[str, str]:
        """Do `digests_sync` in a thread."""
        return await asyncio.to_thread(self._output.digests, check)

    def digests_sync(self, check: Callable[[], None]) -> dict[str, str]:
        """Return the digests of the complete file by algorithm; `check` may raise to end this."""
        return self._output.digests(check)

    @property
    def origin_digests(self) -> tuple[str, ...]:
        """The file's digests by its origin, as ``algorithm:hex``."""
        return self._output.description.digests

    @property
    def validators(self) -> list[str]:
        """The origin's validators of this version of the file, for messages."""
        return self._output.validators

    async def write_checkpoint(self) -> None:
        """Do `write_checkpoint_sync` in a thread."""
        await asyncio.to_thread(self._output.write_checkpoint)

    def write_checkpoint_sync(self) -> None:
        """Write a checkpoint of all bytes, from which the next attempt resumes."""
        self._output.write_checkpoint()

    async def restart_without_ranges(self, reason: str) -> None:
        """Do `restart_sync` in a thread."""
        await asyncio.to_thread(self.restart_sync, reason)

    def restart_sync(self, reason: str) -> None:
        """Discard all bytes; the next `run` fetches the file over one connection."""
        self._outcomes.trust_ranges = False
        self._outcomes.restart(reason)

    def close(self) -> None:
        """Stop using the destination."""
        self._output.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _checkpoint_after(self, error: SeenError) -> None:
        # After these errors the part file will be removed, or another worker owns it.
        if not isinstance(error, CancelledError | PermanentError | FencedError):
            self._output.write_checkpoint(error)

    # ── open connections ────────────────────────────────────────────────────────────────────────

    def _open_connections(self) -> None:
        if time.monotonic() < self._outcomes.retry_at:
            return
        if not (
            self._pool.connections or self._segments.is_untouched or self._outcomes.can_continue
        ):
            self._outcomes.restart("without a validator, another response may be of another file")
        while (segment := self._next_segment()) is not None:
            self._open(segment)

    def _next_segment(self) -> Segment | None:
        """Claim the next segment to fetch; None when no connection is allowed or worth opening."""
        running = len(self._pool.connections)
        if running == 0:
            return None if self._segments.is_complete else self._segments.claim_next()
        if not self._policy.may_add(running) or self._pool.is_held_back:
            return None
        slowest = None
        if not self._segments.has_unclaimed():
            slowest = self._policy.slowest_to_finish(self._pool.connections)
            if slowest is None:
                return None
        if self._policy.granted() <= running:
            return None
        if slowest is None:
            return self._segments.claim_next()
        parts = self._policy.max_connections if running == 1 else 2
        return self._segments.split(slowest.segment, parts)

    def _open(self, segment: Segment) -> None:
        """Request what is missing of `segment`."""
        source = self._sources.least_busy() if self._segments.downloaded else self._sources.first
        request = Request(url=source.current_url)
        if self._segments.downloaded or segment.start > 0:
            last = None if segment.end is None else segment.end - 1
            # A mirror may use other validators: its response is compared instead.
            if_range = self._outcomes.if_range if self._output.is_from(source.digest) else None
            request = replace(request, first=segment.position, last=last, if_range=if_range)
        self._pool.open(
            Connection(
                source,
                request,
                segment,
                on_response=self._outcomes.on_response,
                write=self._write,
                try_consume=self._bucket.try_consume,
            )
        )

    # ── serve connections ───────────────────────────────────────────────────────────────────────

    def _serve_connections(self) -> None:
        """Run one iteration of the loop: wait, read and write, then check speeds."""
        if not self._pool.connections:
            self._wait_for_retry()
            return
        started = time.monotonic()
        # With one connection, return early: its speed decides whether to open others.
        timeout = _POLL_INTERVAL if len(self._pool.connections) > 1 else MIN_MEASURE_TIME
        events = self._pool.wait(timeout)
        self._count_wait(time.monotonic() - started)
        before = self._segments.downloaded
        self._bucket.refill(time.monotonic())
        for connection, code, detail in self._pool.process(events):
            self._outcomes.on_finished(connection, code, detail)
        self._output.checkpoint_if_due()
        self._check_speeds()
        self._coalesce(self._segments.downloaded - before)

    def _wait_for_retry(self) -> None:
        self._progress.stop.wait(
            min(_POLL_INTERVAL, max(0.0, self._outcomes.retry_at - time.monotonic()))
        )
        self._stall.restart(time.monotonic())

    def _count_wait(self, seconds: float) -> None:
        """Enforce the minimum throughput while bodies arrive; responses have timeouts of their own."""
        if not self._pool.is_held_back and any(one.is_accepted for one in self._pool.connections):
            self._min_throughput.add_wait(seconds, self._segments.downloaded)

    def _check_speeds(self) -> None:
        """Close connections that stalled, and one that is much slower than a new one would be."""
        now = time.monotonic()
        limit = float(self._options.low_speed_limit)
        for connection in list(self._pool.connections):
            stall = connection.stall
            stall.sample(now, connection.received, limit, is_held_back=connection.is_held_back)
            timeout = self._policy.timeout(connection, len(self._pool.connections))
            if now - stall.slow_since >= timeout:
                self._outcomes.close(connection)
                self._outcomes.on_transient_error(connection, stall_error(limit, timeout))
        is_held_back = self._pool.is_held_back
        self._stall.sample(now, self._segments.downloaded, limit, is_held_back=is_held_back)
        timeout = 2 * self._options.low_speed_time
        if now - self._stall.slow_since >= timeout:
            # Connections that fail after one byte each pass the check above; this one is of their sum.
            raise stall_error(limit, timeout)
        if self._policy.may_add(len(self._pool.connections)) and not is_held_back:
            self._close_slow_connection()

    def _close_slow_connection(self) -> None:
        slow = self._policy.slow_connection(self._pool.connections)
        if slow is not None and not self._segments.has_unclaimed():
            logger.info("Job %s closes a slow connection", self._progress.job_id)
            self._outcomes.close(slow)

    def _coalesce(self, moved: int) -> None:
        """Wait so that more bytes arrive before the next iteration: this saves CPU for other transfers.

        Not while a response is outstanding: the transfer must react to it at once.
        """
        now, connections = time.monotonic(), self._pool.connections
        is_warm = all(one.is_accepted and now - one.accepted_at >= _WARM_UP for one in connections)
        if connections and is_warm and 0 < moved < _COALESCE_BYTES:
            speed = sum(one.stall.average(now, one.received) for one in connections)
            pause = min(_MAX_COALESCE, _COALESCE_BYTES / max(speed, 1.0))
            if pause >= _MIN_COALESCE:
                time.sleep(pause)
                self._count_wait(pause)

    def _write(self, connection: Connection, chunks: list[bytes]) -> None:
        self._quota.record_bytes(self._output.write(connection.segment, chunks))

    # ── details ─────────────────────────────────────────────────────────────────────────────────

    @property
    def _segments(self) -> SegmentMap:
        return self._output.segments

    def _check_may_continue(self) -> None:
        self._progress.stop.raise_if_set()
        self._check_may_write()

    def _forward_notes(self) -> None:
        while self._pending_notes:
            self._add_note(self._pending_notes.pop(0))
