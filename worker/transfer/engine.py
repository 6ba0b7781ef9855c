"""Fetches one file into a destination over one or more connections. Read this first in this folder.

A transfer starts with one request; its response describes the file. More connections, each for one
segment of the file, are opened while they save time. All transfers of a process run on one event loop:
libcurl's callbacks collect bytes and wake the coroutine of their transfer, which hands the bytes over to
the threads that write and hash them. The engine knows no queues, locks or SQL.
"""

from __future__ import annotations

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
from worker.transfer.connection_pool import ConnectionPool
from worker.transfer.http.request import Request
from worker.transfer.interfaces import (
    DiskCalls,
    EngineResources,
    ProgressSink,
    TransferQuota,
    TransferSpec,
    UnlimitedQuota,
)
from worker.transfer.network import Wakeup, running_network
from worker.transfer.outcomes import RequestOutcomes
from worker.transfer.output_file import OutputFile, TransferResult
from worker.transfer.segments import Segment, SegmentMap
from worker.transfer.sources import Sources
from worker.transfer.stall_detector import (
    SAMPLE_INTERVAL,
    MinimumThroughput,
    StallDetector,
    stall_error,
)
from worker.transfer.token_bucket import TokenBucket

logger = logging.getLogger(__name__)

#: The speed of a single connection is checked so often. Seconds.
_CHECK_INTERVAL = 1.0
_EARLY_CHECK = 0.7


class Transfer:
    """One attempt to fetch what is missing of one file, on the running event loop.

    Close it before its destination, or use `async with`.

    Args:
        spec: what to fetch.
        destination: open for this attempt.
        progress: receives the byte counts, and holds the stop flag.
        resources: shared by all transfers of the process.
        disk: makes the calls that wait for the destination's disk.
        check_may_write: called before every write, in any thread; raises when the lease is lost.
        quota: this transfer's part of shared limits.
        add_note: adds a sentence to the job's history, when bytes are discarded for example. It must not
            wait.
    """

    def __init__(
        self,
        spec: TransferSpec,
        destination: Destination,
        progress: ProgressSink,
        *,
        resources: EngineResources,
        disk: DiskCalls,
        check_may_write: Callable[[], None],
        quota: TransferQuota | None = None,
        add_note: Callable[[str], None] = logger.info,
    ) -> None:
        self._progress, self._options = progress, resources.options
        self._check_may_write = check_may_write
        self._network, self._wakeup = running_network(), Wakeup()
        wake = self._wakeup.set
        self._quota = quota or UnlimitedQuota()
        now = time.monotonic()
        self._stall = StallDetector(now)
        self._min_throughput = MinimumThroughput(self._options.min_bytes_per_minute)
        self._bucket = TokenBucket(self._quota, now)
        self._sources = Sources(spec, destination.checkpoint.source)
        self._counted_at = self._check_at = self._check_from = now
        self._policy = ConnectionPolicy(self._options, self._quota, spec.connections, wake=wake)
        self._output = OutputFile(
            spec,
            destination,
            progress,
            resources=resources,
            disk=disk,
            network=self._network,
            check_may_write=check_may_write,
            add_note=add_note,
            wake=wake,
        )
        self._may_receive = _gate(self._output, self._bucket)
        self._pool = ConnectionPool(
            self._sources, resources, self._network, may_continue=self._may_receive, wake=wake
        )
        self._outcomes = self._new_outcomes(spec, resources)

    def _new_outcomes(self, spec: TransferSpec, resources: EngineResources) -> RequestOutcomes:
        return RequestOutcomes(
            spec,
            resources,
            output=self._output,
            sources=self._sources,
            pool=self._pool,
            policy=self._policy,
            stall=self._stall,
        )

    async def run(self) -> TransferResult:
        """Fetch what is missing; return when the file is complete and written.

        Raises:
            TransientError, PermanentError: the origin or the network failed.
            DiskFullError: there is not enough space.
            StoppedError, FencedError: the stop flag is set, or the lease is lost.
        """
        try:
            with self._network.running(self._on_tick):
                await self._outcomes.resume()
                while self._pool.connections or not self._segments.is_received:
                    self._check_may_continue()
                    self._open_connections()
                    await self._wakeup.wait(self._longest_wait())
                    self._serve_connections()
                return await self._output.complete()
        except SeenError as error:
            self._outcomes.close_all()
            await self._checkpoint_after(error)
            raise
        finally:
            self._outcomes.close_all()
            await self._policy.wait()

    async def digests(self, check: Callable[[], None]) -> dict[str, str]:
        """Return the digests of the complete file by algorithm.

        Args:
            check: called in any thread, many times a second; it may raise to end this.
        """
        return await self._output.digests(check)

    @property
    def origin_digests(self) -> tuple[str, ...]:
        """The file's digests by its origin, as ``algorithm:hex``."""
        return self._output.description.digests

    @property
    def validators(self) -> list[str]:
        """The origin's validators of this version of the file, for messages."""
        return self._output.validators

    async def write_checkpoint(self) -> None:
        """Write a checkpoint of all bytes, from which the next attempt resumes."""
        await self._output.write_checkpoint()

    async def restart_without_ranges(self, reason: str) -> None:
        """Discard all bytes; the next `run` fetches the file over one connection."""
        self._outcomes.trust_ranges = False
        self._outcomes.restart(reason)
        await self._output.write_all()  # so that `run` finds no checkpoint of the bytes

    async def aclose(self) -> None:
        """Stop using the destination."""
        await self._output.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def _checkpoint_after(self, error: SeenError) -> None:
        # After these errors the part file will be removed, or another worker owns it.
        if not isinstance(error, CancelledError | PermanentError | FencedError):
            await self._output.write_checkpoint(error)

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
            return None if self._segments.is_received else self._segments.claim_next()
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
        source = self._sources.least_busy() if self._segments.received else self._sources.first
        request = Request(url=source.current_url)
        if self._segments.received or segment.start > 0:
            last = None if segment.end is None else segment.end - 1
            # A mirror may use other validators: its response is compared instead.
            if_range = self._outcomes.if_range if self._output.is_from(source.digest) else None
            request = replace(request, first=segment.received, last=last, if_range=if_range)
        self._pool.open(
            Connection(
                source,
                request,
                segment,
                on_response=self._outcomes.on_response,
                write=self._write,
                may_receive=self._may_receive,
                wake=self._wakeup.set,
                waiting=self._output.waiting,
            )
        )

    # ── serve connections ───────────────────────────────────────────────────────────────────────

    def _longest_wait(self) -> float | None:
        """Return after how many seconds to continue although nothing has happened; None for any time.

        At every tick `_on_tick` finds out whether something else is due.
        """
        now, connections = time.monotonic(), self._pool.connections
        if not connections:
            return max(0.0, self._outcomes.retry_at - now)
        if self._pool.needs_turn and not self._output.waiting.is_full:
            return self._bucket.seconds_until_ready()
        # Its speed decides whether to open others.
        is_alone = len(connections) == 1 and self._policy.may_add(1)
        may_split = is_alone and self._policy.is_worth_splitting(connections[0])
        return MIN_MEASURE_TIME if may_split else None

    def _on_tick(self, now: float) -> None:
        """Wake the coroutine when a check is due, or when it has to stop."""
        if now >= self._check_at or self._output.is_due(now) or self._pool.needs_turn:
            self._wakeup.set()
            return
        try:
            self._check_may_continue()
        except SeenError:
            self._wakeup.set()

    def _serve_connections(self) -> None:
        """Pass received bytes on to the disk, handle requests that have ended, and check speeds."""
        now = time.monotonic()
        self._count_wait(now)
        self._bucket.refill(now)
        for connection, code, detail in self._pool.serve():
            self._outcomes.on_finished(connection, code, detail)
        self._output.write_if_due()
        self._output.checkpoint_if_due()
        if now >= min(self._check_at, self._check_from):
            self._check_speeds(now)

    def _count_wait(self, now: float) -> None:
        """Enforce the minimum throughput while bodies arrive; responses have timeouts of their own."""
        seconds, self._counted_at = now - self._counted_at, now
        if not self._pool.connections:
            self._stall.restart(now)
        elif not self._pool.is_held_back and any(one.is_accepted for one in self._pool.connections):
            self._min_throughput.add_wait(seconds, self._segments.received)

    def _check_speeds(self, now: float) -> None:
        """Close connections that stalled, and one that is much slower than a new one would be."""
        is_alone = len(self._pool.connections) <= 1
        self._check_at = now + (_CHECK_INTERVAL if is_alone else SAMPLE_INTERVAL)
        # In a turn that something else causes, if one does: a turn costs more than the check.
        self._check_from = now + _EARLY_CHECK if is_alone else self._check_at
        limit = float(self._options.low_speed_limit)
        held_back = {one: one.was_held_back() for one in self._pool.connections}
        for connection in held_back:
            stall = connection.stall
            stall.sample(now, connection.received, limit, is_held_back=held_back[connection])
            timeout = self._policy.timeout(connection, len(self._pool.connections))
            if now - stall.slow_since >= timeout:
                self._outcomes.close(connection)
                self._outcomes.on_transient_error(connection, stall_error(limit, timeout))
            else:
                self._check_at = min(self._check_at, stall.slow_since + timeout)
        is_held_back = any(held_back.values())
        self._stall.sample(now, self._segments.received, limit, is_held_back=is_held_back)
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

    def _write(self, connection: Connection, chunks: list[bytes]) -> None:
        self._quota.record_bytes(self._output.write(connection.segment, chunks))

    # ── details ─────────────────────────────────────────────────────────────────────────────────

    @property
    def _segments(self) -> SegmentMap:
        return self._output.segments

    def _check_may_continue(self) -> None:
        self._progress.stop.raise_if_set()
        self._check_may_write()


def _gate(output: OutputFile, bucket: TokenBucket) -> Callable[[int], bool]:
    """Return a function that takes bytes from the rate; it returns False while disk or rate allow none.

    A method of the transfer would be in what the transfer consists of, and such cycles are freed late.
    """

    def may_receive(size: int) -> bool:
        return not output.waiting.is_full and bucket.try_consume(size)

    return may_receive
