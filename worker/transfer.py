"""Moves the bytes of one URL into a part file with libcurl. Knows nothing of queues, locks or SQL.

libcurl lets go of the GIL while it waits and calls back with each piece of the body. A callback must
not raise, so what goes wrong inside one is kept, the transfer is told to end, and `run` raises it.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import pycurl

from domain.errors import PermanentError, SeenError, TransientError
from worker import verdict
from worker.curl import TransferOptions, prepare, thread_handle
from worker.files import name_from_disposition
from worker.origin import AddressGuard, Answer
from worker.part_file import Checkpoint, PartFile
from worker.progress import DownloadTracker

logger = logging.getLogger(__name__)

_REFUSE = 0  # a write callback that takes fewer bytes than it was given ends the transfer


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a finished transfer found out: the size in bytes, and the name the origin gave."""

    size: int
    name: str | None


class _CannotContinueError(TransientError):
    """The origin answered a range with something that cannot be joined to what we have."""


class Transfer:
    """One attempt to get the rest of one file.

    Args:
        url: checked already.
        part: open; bytes are appended to it.
        tracker: gets the byte counts, and carries the signal to stop.
        may_write: raises when the lease is lost; asked before every write.
        checkpoints: runs fsyncs, so that they do not hold up the bytes.
    """

    def __init__(
        self,
        url: str,
        part: PartFile,
        tracker: DownloadTracker,
        *,
        options: TransferOptions,
        guard: AddressGuard,
        may_write: Callable[[], None],
        checkpoints: ThreadPoolExecutor,
    ) -> None:
        self._url = url
        self._part = part
        self._tracker = tracker
        self._options = options
        self._guard = guard
        self._may_write = may_write
        self._checkpoints = checkpoints
        self._answer = Answer()
        self._accepted = False
        self._error: SeenError | None = None
        self._refused_address: str | None = None
        self._opened: list[socket.socket] = []
        self._offset = 0
        self._checkpoint: Future[int] | None = None
        self._checkpoint_at = time.monotonic()

    def run(self) -> Fetched:
        """Get what is missing; return when the part file is complete.

        Raises:
            TransientError, PermanentError: what the origin or the network did.
            DiskFullError: no room.
            StoppedError, FencedError: what the stop signal or the lease said.
        """
        try:
            if not self._resume():
                self._fetch()
            self._wait_for_checkpoint()
            return self._complete()
        except SeenError:
            self.keep()
            raise

    # ── resuming ────────────────────────────────────────────────────────────────────────────────

    def _resume(self) -> bool:
        """Go back to the last byte that can be trusted; True when nothing is missing."""
        found = self._part.checkpoint
        self._offset = found.durable if found.validator or found.durable == found.total else 0
        self._part.resume_at(self._offset)
        self._tracker.bytes_total = found.total if self._offset else None
        self._tracker.restart(self._offset)
        return bool(self._offset) and self._offset == found.total

    def _start_over(self) -> None:
        """The origin does not continue where we stopped: what we have cannot be joined to it."""
        logger.info("Job %s starts over: the origin sends it from the start", self._tracker.job_id)
        self._offset = 0
        self._wait_for_checkpoint()
        self._part.resume_at(0)
        self._tracker.restart(0)

    # ── the request ─────────────────────────────────────────────────────────────────────────────

    def _fetch(self) -> None:
        """Ask for what is missing; once more, from the start, where the origin cannot continue."""
        try:
            self._perform()
        except _CannotContinueError:
            self._answer, self._accepted, self._error = Answer(), False, None
            self._perform()

    def _perform(self) -> None:
        handle = thread_handle()
        try:
            prepare(handle, self._url, self._options, self._headers(), self._offset)
            self._listen(handle)
            handle.perform()
        except pycurl.error as error:
            self._raise_verdict(*error.args[:2])
        finally:
            handle.reset()
            # pycurl works on duplicates; these are ours to close.
            for opened in self._opened:
                opened.close()
        if not self._accepted:
            # No body at all: an empty file, or a status without one.
            self._accept_answer()
        self._raise_kept()

    def _listen(self, handle: Any) -> None:
        """Have libcurl call us."""
        handle.setopt(pycurl.HEADERFUNCTION, self._answer.feed)
        handle.setopt(pycurl.WRITEFUNCTION, self._on_body)
        handle.setopt(pycurl.NOPROGRESS, 0)
        handle.setopt(pycurl.XFERINFOFUNCTION, self._on_tick)
        handle.setopt(pycurl.OPENSOCKETFUNCTION, self._on_connect)

    def _headers(self) -> list[str]:
        headers = ["Accept: */*", "Accept-Encoding: identity"]
        if self._offset:
            headers.append(f"If-Range: {self._part.checkpoint.validator}")
        return headers

    # ── libcurl's callbacks: they keep errors, they never raise ─────────────────────────────────

    def _on_body(self, data: bytes) -> int | None:
        try:
            if not self._accepted:
                self._accept_answer()
            self._tracker.stop.raise_if_set()
            self._may_write()
            self._part.write(data)
            self._tracker.bytes_downloaded = self._part.size
            self._checkpoint_when_due()
        except SeenError as error:
            self._error = error
            return _REFUSE
        return None

    def _on_tick(self, *_counts: float) -> int:
        """Called with every step, and about once a second while a connected origin is silent.

        Not while a connection is being made: then a stop is heard when that has succeeded or timed out.
        """
        stop = self._tracker.stop.error
        if stop is not None:
            self._error = self._error or stop
            return 1
        return 0

    def _on_connect(self, _purpose: int, address: Any) -> Any:
        family, kind, protocol, where = address
        if not self._guard.allows(where[0]):
            self._refused_address = where[0]
            return pycurl.SOCKET_BAD
        opened = socket.socket(family, kind, protocol)
        self._opened.append(opened)
        return opened

    # ── the answer ──────────────────────────────────────────────────────────────────────────────

    def _accept_answer(self) -> None:
        """Decide by status and headers what the body is, before its first byte is written."""
        self._accepted = True
        answer = self._answer
        if answer.status == 206 and self._offset:
            self._accept_continuation()
        elif answer.status == 200:
            if self._offset:
                self._start_over()
            self._tracker.bytes_total = answer.content_length
        elif answer.status == 416 and self._offset:
            self._start_over()
            raise _CannotContinueError("The origin has no bytes where we stopped.", code="http_416")
        else:
            raise verdict.of_status(answer.status, answer.headers.get("retry-after"))
        if self._tracker.bytes_total is not None:
            self._part.check_room(self._tracker.bytes_total, self._options.min_free_bytes)

    def _accept_continuation(self) -> None:
        found = self._part.checkpoint
        span = self._answer.content_range
        if not self._is_same_file(found) or not _continues(span, self._offset, found.total):
            self._start_over()
            raise _CannotContinueError(
                "The origin continued another file or another place.", code="bad_range"
            )
        if span is not None and span[2] is not None:
            self._tracker.bytes_total = span[2]

    def _is_same_file(self, begun: Checkpoint) -> bool:
        """Say whether nothing in the answer contradicts what the file was begun with.

        If-Range should have seen to that; an origin that ignores it must not join two files for us.
        """
        headers = self._answer.headers
        same_tag = headers.get("etag", begun.etag) == begun.etag
        return same_tag and headers.get("last-modified", begun.last_modified) == begun.last_modified

    def _complete(self) -> Fetched:
        """Check that every promised byte came, and say what we have."""
        total, size = self._tracker.bytes_total, self._part.size
        if total is not None and size != total:
            raise TransientError(
                f"The origin promised {total:,} bytes and {size:,} came.", code="truncated"
            )
        self._tracker.bytes_total = size
        return Fetched(size, self._name())

    def _name(self) -> str | None:
        """Return the name the origin gave, now or when the part file was begun."""
        header = self._answer.headers.get("content-disposition")
        return name_from_disposition(header) or self._part.checkpoint.name

    def _raise_verdict(self, code: int, detail: str) -> None:
        """Raise our own reason for ending the transfer if there is one, else libcurl's."""
        self._raise_kept()
        if self._refused_address is not None:
            raise PermanentError(
                f"{self._refused_address} is not a public address. SEEN_ALLOWED_NETWORKS names "
                "networks that may be downloaded from all the same.",
                code="forbidden_address",
            )
        if self._answer.status >= 400 and not self._accepted:
            raise verdict.of_status(self._answer.status, self._answer.headers.get("retry-after"))
        raise verdict.of_curl(code, detail)

    def _raise_kept(self) -> None:
        if self._error is not None:
            raise self._error

    # ── checkpoints ─────────────────────────────────────────────────────────────────────────────

    def _checkpoint_when_due(self) -> None:
        now = time.monotonic()
        if now - self._checkpoint_at < self._options.checkpoint_interval:
            return
        if self._checkpoint is None or self._checkpoint.done():
            self._wait_for_checkpoint()
            self._checkpoint_at = now
            self._checkpoint = self._checkpoints.submit(self._sync)

    def _sync(self) -> int:
        durable = self._part.sync(self._description())
        self._tracker.bytes_durable = durable
        return durable

    def _description(self) -> Checkpoint:
        """Say where the bytes in the part file are from."""
        total, name = self._tracker.bytes_total, self._name()
        if self._answer.status != 200:
            # A continuation is vouched for by what the file was begun with, not by what it says itself.
            return replace(self._part.checkpoint, total=total, name=name)
        headers = self._answer.headers
        return Checkpoint(
            total=total,
            validator=self._answer.validator,
            etag=headers.get("etag"),
            last_modified=headers.get("last-modified"),
            name=name,
        )

    def _wait_for_checkpoint(self) -> None:
        """Wait for the one under way, and raise what it met (a full disk, say)."""
        if self._checkpoint is not None:
            self._checkpoint.result()
            self._checkpoint = None

    def keep(self) -> None:
        """Leave a checkpoint of all bytes that are there, so that the next attempt goes on from them."""
        try:
            self._wait_for_checkpoint()
            if self._part.size > self._part.checkpoint.durable:
                self._may_write()
                self._sync()
        except SeenError as error:
            logger.warning(
                "Job %s could not checkpoint its last bytes: %s", self._tracker.job_id, error
            )


def _continues(span: tuple[int, int, int | None] | None, offset: int, total: int | None) -> bool:
    """Say whether a Content-Range goes on at `offset` in a file of `total` bytes (None: unknown)."""
    if span is None or span[0] != offset:
        return False
    return total is None or span[2] in {None, total}
