"""The file of one transfer: its segments, digests and checkpoints at a destination.

Nothing here waits for the disk on the event loop: bytes are handed over in batches, and count as written
when their batch has been. A batch is what one thread does at once.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from domain.byte_counts import ByteCounts
from domain.errors import DiskFullError, PermanentError, SeenError
from domain.files import Checksum
from worker.storage.destination import Checkpoint, Destination
from worker.transfer.http.response import Response
from worker.transfer.integrity.checkpoints import CheckpointWriter
from worker.transfer.integrity.digests import PrefixDigests
from worker.transfer.interfaces import DiskCalls, EngineResources, ProgressSink, TransferSpec
from worker.transfer.network import Network
from worker.transfer.response_rules import describe_file
from worker.transfer.segments import Interval, Segment, SegmentMap
from worker.transfer.writing.disk_queue import DiskQueue
from worker.transfer.writing.write_batch import WriteBatch

logger = logging.getLogger(__name__)

#: So many bytes are worth a switch to another thread. Fewer wait, the first ones but not for long, so
#: that a small file is handed over once and progress is shown soon. Seconds.
_BATCH_BYTES = 256 * 1024
_FIRST_WAIT = 0.2
_MAX_WAIT = 0.9


@dataclass(frozen=True, slots=True)
class TransferResult:
    """A complete file: its size in bytes, and the file name that the origin suggests."""

    size: int
    name: str | None


class OutputFile:
    """What is written of one file, and which version of the file it is.

    Attributes:
        description: total, validators and digests of the file as its first response gave them; later
            responses must match. They are held as a checkpoint without written bytes.
        segments: which bytes are received, and which are written.
        waiting: the bytes received and not written, also those that connections have not passed on.
    """

    def __init__(
        self,
        spec: TransferSpec,
        destination: Destination,
        progress: ProgressSink,
        *,
        resources: EngineResources,
        disk: DiskCalls,
        network: Network,
        check_may_write: Callable[[], None],
        add_note: Callable[[str], None],
        wake: Callable[[], None],
    ) -> None:
        self._spec, self._destination, self._progress = spec, destination, progress
        self._network, self._wake = network, wake
        self._queue = DiskQueue(disk, on_error=wake)
        self._resources, self._options = resources, resources.options
        self._check_may_write, self.add_note = check_may_write, add_note
        self.job_id = progress.job_id
        self.description = Checkpoint()
        self.segments = self._new_segments(None)
        self._is_reserved = False
        self._digests = self._new_digests()
        self._former_digests: list[PrefixDigests] = []
        self._next = WriteBatch()
        self._is_discarding = False  # by a batch that is under way
        self._shown_durable = 0
        #: When a batch is to be handed over although it is small; infinite before the first byte.
        self._due_at = math.inf
        self.waiting = network.waiting_bytes.of_transfer(destination.folder)
        interval, pool = self._options.checkpoint_interval, resources.checkpoint_pool
        self._checkpoints = CheckpointWriter(
            destination, self.job_id, pool=pool, interval=interval, on_start=disk.watch_sync
        )

    @property
    def counts(self) -> ByteCounts:
        """Bytes written, bytes in the last checkpoint, and the file's size."""
        return ByteCounts(self.segments.downloaded, self._durable, self.segments.total)

    @property
    def _durable(self) -> int:
        discards = self._next.discards or self._is_discarding
        return 0 if discards else self._destination.checkpoint.durable

    @property
    def validators(self) -> list[str]:
        """The validators of this version of the file, for messages."""
        shown = {"ETag": self.description.etag, "Last-Modified": self.description.last_modified}
        return [f"{name} {value}" for name, value in shown.items() if value]

    # ── start ───────────────────────────────────────────────────────────────────────────────────

    async def resume(self, source: str, *, may_continue: bool) -> None:
        """Resume from the destination's checkpoint if it can be trusted, else start from zero.

        Args:
            source: the digest of the URL that will be requested.
            may_continue: ranges of it may be requested.
        """
        found = self._destination.checkpoint
        is_complete = found.durable == found.total
        can_continue = found.validator is not None and may_continue
        if found.durable and (is_complete or can_continue) and found.source == source:
            await self._resume_from(found)
        else:
            if found.durable:
                self.add_note(f"{found.durable:,} bytes are discarded: they have no validator")
            self._next.discard(self._destination.discard)
        self._progress.restart(self.counts)

    async def _resume_from(self, found: Checkpoint) -> None:
        self.description = replace(found, written=())
        reason = ", ".join(self.validators) or "the file was complete"
        self.add_note(f"resumes with {found.durable:,} bytes already downloaded ({reason})")
        self.segments = self._new_segments(found.total, found.written)
        self._reset_digests()
        self._reserve_space()
        await self.write_all()
        self._digests.advance_to(self.segments.prefix)

    def start_from(self, response: Response, source: str, *, decoded: bool) -> int | None:
        """Start the file that a response with all of it describes; return its size or None.

        Raises:
            PermanentError: it is too large.
            DiskFullError: there is not enough space for it.
        """
        total = None if decoded else response.resource_size
        description = describe_file(response, source, total, decoded=decoded)
        if self._spec.ignore_origin_digests:
            description = replace(description, digests=())
        name = self._resources.parse_file_name(response.headers.get("content-disposition"))
        self.description = description if name is None else replace(description, name=name)
        self.check_size(total)
        if total is not None:
            self.segments.set_total(total)
        self._progress.update(self.counts)
        if not self._digests.are_fresh(self._algorithms()):
            self._reset_digests()
        self._reserve_space()
        return total

    def reset_segments(self) -> Segment:
        """Replace the segments by a single one, and claim it; no byte may be written yet."""
        self.segments = self._new_segments(None)
        return self.segments.claim_first()

    def set_total(self, total: int) -> None:
        """Set the size that the first response did not give."""
        self.check_size(total)
        self.segments.set_total(total)
        self._progress.update(self.counts)
        self.description = replace(self.description, total=total)
        self._reserve_space()

    def restart(self, reason: str) -> None:
        """Discard all bytes: they cannot be joined to the origin's file. The history says so."""
        self._check_may_write()
        if self.segments.received:
            self.add_note(f"restarts, {self.segments.received:,} bytes are discarded: {reason}")
        self._clear()
        self._next.discard(self._checkpoints.wait)
        self._next.discard(self._destination.discard)
        self._progress.restart(ByteCounts())

    def _clear(self) -> None:
        self._drop_next()
        self.description = Checkpoint()
        self.segments = self._new_segments(None)
        self._is_reserved = False
        self._reset_digests()

    def is_from(self, source: str) -> bool:
        """Return whether the file's first response came from this URL; others must prove equality."""
        return self.description.source in {None, source}

    def is_same_representation(self, response: Response) -> bool:
        """Return whether another response for the whole file is of the same version."""
        found, known = response.headers, self.description
        tags = found.get("etag"), found.get("last-modified"), response.resource_size
        return tags == (known.etag, known.last_modified, known.total)

    # ── bytes ───────────────────────────────────────────────────────────────────────────────────

    def write(self, segment: Segment, chunks: list[bytes]) -> int:
        """Append bytes to `segment`; return their number. The disk may refuse them later."""
        size = sum(map(len, chunks))
        self._due_at = min(self._due_at, time.monotonic() + _FIRST_WAIT)
        self._next.add(segment, chunks, size)
        self.segments.receive(segment, size)
        if self.segments.total is None:
            self.check_size(self.segments.received)
        return size

    @property
    def _batch_bytes(self) -> int:
        """So many bytes are handed over at once; fewer of each with many transfers, to save memory."""
        return min(_BATCH_BYTES, 2 * self._network.buffer)

    def is_due(self, now: float) -> bool:
        """Whether it is time to hand bytes over to the disk."""
        size = self.waiting.size  # all of it, also what connections have not passed on
        if not size or self._queue.is_busy:
            return False
        return now >= self._due_at or size >= self._batch_bytes or self.waiting.folder.is_crowded

    def write_if_due(self) -> None:
        """Hand bytes over to the disk when there are enough, or have waited long.

        Raises:
            SeenError: the disk has refused bytes.
        """
        self._raise_error()
        now = time.monotonic()
        if self._next.size and self.is_due(now):
            self._due_at = now + _MAX_WAIT
            run, count = self._take_batch()
            self._queue.post(run, lambda _: count())

    async def write_all(self) -> None:
        """Hand everything over to the disk, and wait until it is written."""
        await self._queue.wait()
        self._raise_error()
        if self._next.has_work:
            run, count = self._take_batch()
            # It may wait for a checkpoint.
            await self._queue.call(run, takes_long=self._checkpoints.is_running)
            count()

    def _take_batch(self) -> tuple[Callable[[], None], Callable[[], None]]:
        """Return a function that does for a thread what is to be done, and one that counts it then."""
        batch, segments, digests = self._next, self.segments, self._digests
        self._next, self._is_discarding = WriteBatch(), batch.discards
        grows = not self._is_reserved

        def run() -> None:
            self._check_may_write()
            batch.run(self._destination, digests, grows=grows)

        def count() -> None:
            was_full = self.waiting.is_full
            batch.count(segments)
            self._is_discarding = False
            self.waiting.count(-batch.size)
            self._progress.update(self.counts)
            self._digests.advance_to(self.segments.prefix)
            if was_full or self._next.size >= self._batch_bytes:
                self._wake()

        return run, count

    def _raise_error(self) -> None:
        """Raise the error of an earlier batch; what follows it is not written."""
        if self._queue.error is not None:
            self._drop_next()
            self._queue.raise_error()

    def _drop_next(self) -> None:
        self.waiting.count(-self._next.size)
        self._next = WriteBatch()

    def check_size(self, size: int | None) -> None:
        """Raise PermanentError when `size` exceeds the limit of the job or of the service."""
        limits = (self._spec.max_bytes, self._options.max_bytes)
        limit = min((one for one in limits if one is not None), default=None)
        if limit is not None and size is not None and size > limit:
            raise PermanentError(
                f"The file has {size:,} bytes or more; at most {limit:,} are allowed.",
                code="too_large",
            )

    def checkpoint_if_due(self) -> None:
        """Start a checkpoint in the background when it is due, and report what is durable by now."""
        self._checkpoints.write_if_due(self._current_checkpoint)
        durable = self._durable
        if durable != self._shown_durable:
            self._shown_durable = durable
            self._progress.update(self.counts)

    async def write_checkpoint(self, error: SeenError | None = None) -> None:
        """Write a checkpoint of all bytes, from which the next attempt resumes; never raise.

        Bytes that no attempt can continue are discarded instead: they would take space and count as
        progress. So are those of a file of unknown size on a full disk (`error`): it may never fit.
        """
        try:
            await self.write_all()
        except SeenError as failed:
            logger.warning("The last bytes of job %s are not written: %s", self.job_id, failed)
        can_continue = self.segments.is_complete or self.description.validator is not None
        has_total = self.segments.total is not None
        if isinstance(error, DiskFullError) and not (can_continue and has_total):
            await self._discard("the disk is full, and the file may never fit")
        elif not can_continue:
            await self._discard("the origin gave no validator to resume with")
        else:
            await self._queue.call(self._write_final_checkpoint, takes_long=True)
            self._progress.update(self.counts)

    async def _discard(self, reason: str) -> None:
        """Discard all bytes, unless the lease is lost and another worker may use them."""
        try:
            self._check_may_write()
            await self._queue.call(self._discard_now)
        except SeenError as error:
            logger.warning("The bytes of job %s are kept: %s", self.job_id, error)
            return
        if self.segments.downloaded:
            self.add_note(f"{self.segments.downloaded:,} bytes are discarded: {reason}")
        total = self.segments.total
        self._clear()
        self._progress.restart(ByteCounts(total=total))

    def _write_final_checkpoint(self) -> None:
        self._checkpoints.write_final(self._current_checkpoint, self._check_may_write)

    def _discard_now(self) -> None:
        self._checkpoints.abandon()
        self._destination.discard()

    # ── end ─────────────────────────────────────────────────────────────────────────────────────

    async def complete(self) -> TransferResult:
        """Write what is received, set the length of the file to its size, and return the result."""
        size = self.segments.received
        self._next.finish(self._checkpoints.drop)
        self._next.finish(partial(self._destination.truncate, size))
        await self.write_all()
        if self.description.total != size:
            self.description = replace(self.description, total=size)
        return TransferResult(size, self.description.name)

    async def digests(self, check: Callable[[], None]) -> dict[str, str]:
        """Return the digests of the complete file by algorithm: SHA-256, the caller's, the origin's."""
        size, digests = self.segments.downloaded, self._digests
        if digests.has_hashed(size):
            return digests.finish(size, check)
        finish = partial(digests.finish, size, check)
        return await self._queue.call(finish, takes_long=True, progress=lambda: digests.position)

    async def aclose(self) -> None:
        """Stop using the destination, which may be closed after this."""
        self._drop_next()
        all_digests = [*self._former_digests, self._digests]
        for one in all_digests:
            one.stop()
        await self._queue.wait()
        for one in all_digests:
            if one.is_busy:
                await self._queue.call(one.close)
        self.waiting.count(-self.waiting.size)

    # ── details ─────────────────────────────────────────────────────────────────────────────────

    def _reserve_space(self) -> None:
        if self.segments.total is not None:
            self._is_reserved = True
            self._next.prepare(partial(self._destination.reserve, self.segments.total))

    def _current_checkpoint(self) -> Checkpoint:
        return replace(
            self.description, written=tuple(self.segments.written()), total=self.segments.total
        )

    def _new_segments(self, total: int | None, written: tuple[Interval, ...] = ()) -> SegmentMap:
        return SegmentMap(total, written, min_size=self._options.min_segment_size)

    def _algorithms(self) -> set[str]:
        known = [self._spec.checksum, *self.description.digests]
        return {"sha256", *(Checksum.parse(text).algorithm for text in known if text)}

    def _new_digests(self) -> PrefixDigests:
        return PrefixDigests(self._destination, self._algorithms(), self._resources.hashing_pool)

    def _reset_digests(self) -> None:
        self._digests.stop()
        self._former_digests.append(self._digests)
        self._digests = self._new_digests()
