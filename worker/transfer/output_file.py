"""The file that is being put together: what it was begun with, what of it is there, and its end."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from domain.errors import DiskFullError, PermanentError, SeenError
from domain.job import Checksum
from worker.progress.reporter import DownloadTracker
from worker.storage.checkpoint import Checkpoint
from worker.storage.destination import Destination
from worker.storage.filenames import name_from_disposition
from worker.transfer.http.response import Response
from worker.transfer.integrity.checkpoints import Checkpoints
from worker.transfer.integrity.digest_headers import origin_digests
from worker.transfer.integrity.digests import PrefixDigests
from worker.transfer.segments import Interval, Segment, SegmentMap
from worker.transfer.spec import TransferOptions, TransferSpec

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TransferResult:
    """What a finished transfer found out: the size in bytes, and the name the origin gave."""

    size: int
    name: str | None


class OutputFile:
    """One part file with its segments, digests and checkpoints.

    Attributes:
        resource: what the file was begun with: later answers have to fit it. Without what is written.
        segments: which bytes are there.
    """

    def __init__(
        self,
        spec: TransferSpec,
        part: Destination,
        tracker: DownloadTracker,
        *,
        options: TransferOptions,
        check_may_write: Callable[[], None],
        checkpoints: ThreadPoolExecutor,
        hashing: ThreadPoolExecutor,
        note: Callable[[str], None],
    ) -> None:
        self._spec, self._part, self._tracker = spec, part, tracker
        self._options, self._check_may_write = options, check_may_write
        self._hashing, self._note = hashing, note
        self.resource = Checkpoint()
        self.segments = self._new_segments(None)
        self._digests = self._new_digests()
        self._checkpoints = Checkpoints(
            part,
            tracker,
            self._current_checkpoint,
            pool=checkpoints,
            interval=options.checkpoint_interval,
        )

    @property
    def validators(self) -> list[str]:
        """What the origin tells this version of the file by."""
        shown = {"ETag": self.resource.etag, "Last-Modified": self.resource.last_modified}
        return [f"{name} {value}" for name, value in shown.items() if value]

    # ── its beginning ───────────────────────────────────────────────────────────────────────────

    def resume(self, source: str, *, may_continue: bool) -> None:
        """Go on from what is on disk and can be trusted, or from nothing.

        Args:
            source: the digest of the URL that will be asked.
            may_continue: ranges of it may be asked for.
        """
        found = self._part.checkpoint
        whole = found.durable == found.total
        continues = found.validator is not None and may_continue
        if found.durable and (whole or continues) and found.source == source:
            self.resource = replace(found, written=())
            words = ", ".join(self.validators) or "all of it was there"
            self._note(f"{found.durable:,} bytes are kept and continued ({words})")
            self.segments = self._new_segments(found.total, found.written)
            self._reset_digests()
            self._reserve_space()
            self._digests.advance_to(self.segments.prefix)
        else:
            if found.durable:
                self._note(f"{found.durable:,} bytes are thrown away: nothing vouches for them")
            self._part.discard()
        # In this order: the count must not be seen above a total that is another file's.
        self._tracker.bytes_total = None
        self._tracker.restart(self.segments.downloaded)
        self._tracker.bytes_total = self.segments.total

    def start_from(self, response: Response, source: str, *, decoded: bool) -> int | None:
        """Take an answer for the whole file as what the file is; return its size, None if unknown.

        Raises:
            PermanentError: it is too large.
            DiskFullError: there is no room for it.
        """
        total = None if decoded else response.resource_size
        self.resource = _resource_of(response, source, total, decoded=decoded)
        if self._spec.ignore_origin_digests:
            self.resource = replace(self.resource, digests=())
        self.check_size(total)
        self._tracker.bytes_total = total
        if total is not None:
            self.segments.set_total(total)
        self._reset_digests()
        self._reserve_space()
        return total

    def reset_segments(self) -> Segment:
        """Make one segment again of a file of which nothing is there, and own it."""
        self.segments = self._new_segments(None)
        return self.segments.claim_first()

    def set_total(self, total: int) -> None:
        """Note the size that only a later answer told."""
        self.check_size(total)
        self.segments.set_total(total)
        self._tracker.bytes_total = total
        self.resource = replace(self.resource, total=total)
        self._reserve_space()

    def restart(self, why: str) -> None:
        """Throw away what is there, openly: it cannot be joined to what the origin has."""
        self._check_may_write()
        self._checkpoints.wait()
        if self.segments.downloaded:
            self._note(f"it starts over, {self.segments.downloaded:,} bytes are thrown away: {why}")
        self._part.discard()
        self._clear()
        self._tracker.bytes_total = None
        self._tracker.restart(0)

    def _clear(self) -> None:
        self.resource = Checkpoint()
        self.segments = self._new_segments(None)
        self._reset_digests()

    def is_from(self, source: str) -> bool:
        """Say whether the file was begun there: every other source has to say that it has the same."""
        return self.resource.source in {None, source}

    def is_same_representation(self, response: Response) -> bool:
        """Say whether another answer for the whole file is of the same one."""
        same_tag = response.headers.get("etag") == self.resource.etag
        same_date = response.headers.get("last-modified") == self.resource.last_modified
        return same_tag and same_date and response.resource_size == self.resource.total

    # ── its bytes ───────────────────────────────────────────────────────────────────────────────

    def write(self, segment: Segment, chunks: list[bytes]) -> int:
        """Put bytes where `segment` goes on; return how many they were."""
        self._check_may_write()
        if self.segments.total is None:
            growth = sum(map(len, chunks))
            self.check_size(self.segments.downloaded + growth)
            self._part.reserve_growth(growth)
        size = self._part.write_at(chunks, segment.position)
        self.segments.advance(segment, size)
        self._tracker.bytes_downloaded = self.segments.downloaded
        self._digests.advance_to(self.segments.prefix)
        return size

    def check_size(self, size: int | None) -> None:
        """Raise PermanentError when so many bytes are more than the job or the service allows."""
        limits = (self._spec.max_bytes, self._options.max_bytes)
        limit = min((one for one in limits if one is not None), default=None)
        if limit is not None and size is not None and size > limit:
            raise PermanentError(
                f"The file has {size:,} bytes or more; at most {limit:,} are allowed.",
                code="too_large",
            )

    def checkpoint_when_due(self) -> None:
        """Make what is there durable, if it is time to."""
        self._checkpoints.write_if_due()

    def write_checkpoint(self, why: SeenError | None = None) -> None:
        """Leave a checkpoint of all bytes that are there, so that the next attempt goes on from them.

        Bytes that no attempt could continue are given back: they would take room that others need, and
        count as progress that is lost. So is what has come of a file of unknown size when the disk is
        full (`why`): it may never fit.
        """
        continues = self.segments.is_complete or self.resource.validator is not None
        if isinstance(why, DiskFullError) and not (continues and self.segments.total is not None):
            self._discard_bytes("there is no room for the file, and others may need theirs")
        elif not continues:
            self._discard_bytes("no validator of the origin vouches for them")
        else:
            self._checkpoints.write_final(self._check_may_write)

    def _discard_bytes(self, why: str) -> None:
        """Throw away what is there, and say so, while nobody else may have the file."""
        try:
            self._check_may_write()
            self._checkpoints.abandon()
            self._part.discard()
        except SeenError as error:
            logger.warning("The bytes of job %s stay for now: %s", self._tracker.job_id, error)
            return
        if self.segments.downloaded:
            self._note(f"{self.segments.downloaded:,} bytes are thrown away: {why}")
        self._clear()
        self._tracker.restart(0)

    # ── its end ─────────────────────────────────────────────────────────────────────────────────

    def complete(self) -> TransferResult:
        """End the file where its last byte is."""
        self._checkpoints.wait()
        size = self.segments.downloaded
        self._part.truncate(size)
        self._tracker.bytes_total = size
        self.resource = replace(self.resource, total=size)
        return TransferResult(size, self.resource.name)

    def digests(self, check: Callable[[], None]) -> dict[str, str]:
        """Return the digests of the complete file, by algorithm: SHA-256 and those that are promised."""
        return self._digests.finish(self.segments.downloaded, check)

    def close(self) -> None:
        """Let go of the part file."""
        self._digests.close()

    # ── how it is done ──────────────────────────────────────────────────────────────────────────

    def _reserve_space(self) -> None:
        if self.segments.total is not None:
            self._part.reserve(self.segments.total)

    def _current_checkpoint(self) -> Checkpoint:
        return replace(
            self.resource, written=tuple(self.segments.written()), total=self.segments.total
        )

    def _new_segments(self, total: int | None, written: tuple[Interval, ...] = ()) -> SegmentMap:
        return SegmentMap(total, written, min_size=self._options.min_segment_size)

    def _new_digests(self) -> PrefixDigests:
        given = [self._spec.checksum] if self._spec.checksum else []
        algorithms = {Checksum.parse(text).algorithm for text in (*given, *self.resource.digests)}
        return PrefixDigests(self._part, {"sha256", *algorithms}, self._hashing)

    def _reset_digests(self) -> None:
        self._digests.close()
        self._digests = self._new_digests()


def _resource_of(
    response: Response, source: str, total: int | None, *, decoded: bool
) -> Checkpoint:
    """Say what file this answer begins, as later answers and attempts are to know it."""
    headers = response.headers
    is_unplaced = response.status == 206 and response.resource_size is None
    return Checkpoint(
        total=total,
        # What has been decoded cannot be continued: ranges are of what was sent. Nor can what calls
        # itself a part of a file whose size nobody knows.
        validator=None if decoded or is_unplaced else response.validator,
        date=response.date,
        etag=headers.get("etag"),
        last_modified=headers.get("last-modified"),
        encoding=headers.get("content-encoding"),
        name=name_from_disposition(headers.get("content-disposition")),
        source=source,
        # They are of what is sent, not of what it decodes to.
        digests=()
        if decoded
        else tuple(str(one) for one in origin_digests(headers, response.status)[:1]),
    )
