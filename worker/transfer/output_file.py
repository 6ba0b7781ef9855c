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
from worker.storage.disk_space import Space
from worker.storage.filenames import name_from_disposition
from worker.storage.part_file import PartFile
from worker.transfer.http.curl_options import TransferOptions
from worker.transfer.http.response import Answer
from worker.transfer.integrity.checkpoints import Checkpoints
from worker.transfer.integrity.digest_headers import promised_digests
from worker.transfer.integrity.digests import PrefixDigests
from worker.transfer.segments import Interval, Piece, Pieces
from worker.transfer.spec import Order

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a finished transfer found out: the size in bytes, and the name the origin gave."""

    size: int
    name: str | None


class Target:
    """One part file with its pieces, digests and checkpoints.

    Attributes:
        begun: what the file was begun with: later answers have to fit it. Without what is written.
        pieces: which bytes are there.
    """

    def __init__(
        self,
        order: Order,
        part: PartFile,
        tracker: DownloadTracker,
        *,
        options: TransferOptions,
        space: Space,
        may_write: Callable[[], None],
        checkpoints: ThreadPoolExecutor,
        hashing: ThreadPoolExecutor,
        note: Callable[[str], None],
    ) -> None:
        self._order, self._part, self._tracker = order, part, tracker
        self._options, self._space, self._may_write = options, space, may_write
        self._hashing, self._note = hashing, note
        self._is_allocated = False
        self.begun = Checkpoint()
        self.pieces = self._new_pieces(None)
        self._digests = self._new_digests()
        self._checkpoints = Checkpoints(
            part, tracker, self._describe, pool=checkpoints, interval=options.checkpoint_interval
        )

    @property
    def validators(self) -> list[str]:
        """What the origin tells this version of the file by."""
        shown = {"ETag": self.begun.etag, "Last-Modified": self.begun.last_modified}
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
            self.begun = replace(found, written=())
            words = ", ".join(self.validators) or "all of it was there"
            self._note(f"{found.durable:,} bytes are kept and continued ({words})")
            self.pieces = self._new_pieces(found.total, found.written)
            self._renew_digests()
            self._make_room()
            self._digests.follow(self.pieces.prefix)
        else:
            if found.durable:
                self._note(f"{found.durable:,} bytes are thrown away: nothing vouches for them")
            self._part.discard()
        # In this order: the count must not be seen above a total that is another file's.
        self._tracker.bytes_total = None
        self._tracker.restart(self.pieces.count)
        self._tracker.bytes_total = self.pieces.total

    def begin(self, answer: Answer, source: str, *, decoded: bool) -> int | None:
        """Take an answer for the whole file as what the file is; return its size, None if unknown.

        Raises:
            PermanentError: it is too large.
            DiskFullError: there is no room for it.
        """
        total = None if decoded else answer.promised_size
        self.begun = _description(answer, source, total, decoded=decoded)
        if self._order.ignore_origin_digests:
            self.begun = replace(self.begun, digests=())
        self.check_size(total)
        self._tracker.bytes_total = total
        if total is not None:
            self.pieces.set_total(total)
        self._renew_digests()
        self._make_room()
        return total

    def forget_layout(self) -> Piece:
        """Make one piece again of a file of which nothing is there, and own it."""
        self.pieces = self._new_pieces(None)
        return self.pieces.first()

    def learn_total(self, total: int) -> None:
        """Note the size that only a later answer told."""
        self.check_size(total)
        self.pieces.set_total(total)
        self._tracker.bytes_total = total
        self.begun = replace(self.begun, total=total)
        self._make_room()

    def start_over(self, why: str) -> None:
        """Throw away what is there, openly: it cannot be joined to what the origin has."""
        self._may_write()
        self._checkpoints.wait()
        if self.pieces.count:
            self._note(f"it starts over, {self.pieces.count:,} bytes are thrown away: {why}")
        self._part.discard()
        self._begin_with_nothing()
        self._tracker.bytes_total = None
        self._tracker.restart(0)

    def _begin_with_nothing(self) -> None:
        self._space.release(self._part)
        self.begun = Checkpoint()
        self.pieces = self._new_pieces(None)
        self._renew_digests()

    def was_begun_at(self, source: str) -> bool:
        """Say whether the file was begun there: every other source has to say that it has the same."""
        return self.begun.source in {None, source}

    def was_begun_with(self, answer: Answer) -> bool:
        """Say whether another answer for the whole file is of the same one."""
        same_tag = answer.headers.get("etag") == self.begun.etag
        same_date = answer.headers.get("last-modified") == self.begun.last_modified
        return same_tag and same_date and answer.promised_size == self.begun.total

    # ── its bytes ───────────────────────────────────────────────────────────────────────────────

    def write(self, piece: Piece, chunks: list[bytes]) -> int:
        """Put bytes where `piece` goes on; return how many they were."""
        self._may_write()
        grows = self.pieces.total is None
        if grows:
            self._ask_for_room(sum(map(len, chunks)))
        size = self._put(chunks, piece.position)
        if grows:
            self._space.grown(self._part, size)
        self.pieces.advance(piece, size)
        self._tracker.bytes_downloaded = self.pieces.count
        if not self._is_allocated and self.pieces.left is not None:
            self._space.found(self._part, self.pieces.left)
        self._digests.follow(self.pieces.prefix)
        return size

    def _ask_for_room(self, size: int) -> None:
        """See that a file whose size nobody tells may grow by `size` bytes, before they are written."""
        self.check_size(self.pieces.count + size)
        self._space.grow(self._part, size)

    def _put(self, chunks: list[bytes], position: int) -> int:
        try:
            return self._part.write(chunks, position)
        except DiskFullError as error:
            # A quota, or a disk that others fill: the free room told nothing of it.
            grows = self.pieces.total is None
            error.uses_attempt = grows and self._space.was_filled_by(self._part)
            raise

    def check_size(self, size: int | None) -> None:
        """Raise PermanentError when so many bytes are more than the job or the service allows."""
        limits = (self._order.max_bytes, self._options.max_bytes)
        limit = min((one for one in limits if one is not None), default=None)
        if limit is not None and size is not None and size > limit:
            raise PermanentError(
                f"The file has {size:,} bytes or more; at most {limit:,} are allowed.",
                code="too_large",
            )

    def checkpoint_when_due(self) -> None:
        """Make what is there durable, if it is time to."""
        self._checkpoints.when_due()

    def keep(self, why: SeenError | None = None) -> None:
        """Leave a checkpoint of all bytes that are there, so that the next attempt goes on from them.

        Bytes that no attempt could continue are given back: they would take room that others need, and
        count as progress that is lost. So is what has come of a file of unknown size when the disk is
        full (`why`): it may never fit.
        """
        continues = self.pieces.is_complete or self.begun.validator is not None
        if isinstance(why, DiskFullError) and not (continues and self.pieces.total is not None):
            self._give_back("there is no room for the file, and others may need theirs")
        elif not continues:
            self._give_back("no validator of the origin vouches for them")
        else:
            self._checkpoints.keep(self._may_write)

    def _give_back(self, why: str) -> None:
        """Throw away what is there, and say so, while nobody else may have the file."""
        try:
            self._may_write()
            self._checkpoints.forget()
            self._part.discard()
        except SeenError as error:
            logger.warning("The bytes of job %s stay for now: %s", self._tracker.job_id, error)
            return
        if self.pieces.count:
            self._note(f"{self.pieces.count:,} bytes are thrown away: {why}")
        self._begin_with_nothing()
        self._tracker.restart(0)

    # ── its end ─────────────────────────────────────────────────────────────────────────────────

    def complete(self) -> Fetched:
        """End the file where its last byte is."""
        self._checkpoints.wait()
        size = self.pieces.count
        self._part.cut(size)
        self._tracker.bytes_total = size
        self.begun = replace(self.begun, total=size)
        return Fetched(size, self.begun.name)

    def digests(self, check: Callable[[], None]) -> dict[str, str]:
        """Return the digests of the complete file, by algorithm: SHA-256 and those that are promised."""
        return self._digests.finish(self.pieces.count, check)

    def close(self) -> None:
        """Let go of the part file."""
        self._space.release(self._part)
        self._digests.close()

    # ── how it is done ──────────────────────────────────────────────────────────────────────────

    def _make_room(self) -> None:
        """Reserve room for what is missing, on paper and, where the file system can, on disk."""
        total = self.pieces.total
        if total is not None:
            self._space.reserve(self._part, total)
            self._part.allocate(total)
            self._is_allocated = self._part.allocated >= total
            if self._is_allocated:
                self._space.found(self._part, 0)

    def _describe(self) -> Checkpoint:
        return replace(self.begun, written=tuple(self.pieces.written()), total=self.pieces.total)

    def _new_pieces(self, total: int | None, written: tuple[Interval, ...] = ()) -> Pieces:
        return Pieces(total, written, smallest=self._options.smallest_piece)

    def _new_digests(self) -> PrefixDigests:
        given = [self._order.checksum] if self._order.checksum else []
        algorithms = {Checksum.parse(text).algorithm for text in (*given, *self.begun.digests)}
        return PrefixDigests(self._part, {"sha256", *algorithms}, self._hashing)

    def _renew_digests(self) -> None:
        self._digests.close()
        self._digests = self._new_digests()


def _description(answer: Answer, source: str, total: int | None, *, decoded: bool) -> Checkpoint:
    """Say what file this answer begins, as later answers and attempts are to know it."""
    headers = answer.headers
    is_unplaced = answer.status == 206 and answer.promised_size is None
    return Checkpoint(
        total=total,
        # What has been decoded cannot be continued: ranges are of what was sent. Nor can what calls
        # itself a part of a file whose size nobody knows.
        validator=None if decoded or is_unplaced else answer.validator,
        date=answer.date,
        etag=headers.get("etag"),
        last_modified=headers.get("last-modified"),
        encoding=headers.get("content-encoding"),
        name=name_from_disposition(headers.get("content-disposition")),
        source=source,
        # They are of what is sent, not of what it decodes to.
        digests=()
        if decoded
        else tuple(str(one) for one in promised_digests(headers, answer.status)[:1]),
    )
