"""One request and its response: libcurl's callbacks, and the bytes on their way into one segment.

A callback must not raise, so what goes wrong inside one is kept, the request is told to end, and the
transfer looks at `error` when it has.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from typing import Any

import pycurl

from domain.errors import PermanentError, TransientError, WorkerResourcesError
from domain.urls import host_of
from worker.resources import resource_error_for_curl_code, resource_error_of
from worker.transfer.http import error_mapping, resolving
from worker.transfer.http.curl_options import configure
from worker.transfer.http.decoding import Decoder
from worker.transfer.http.request import Request
from worker.transfer.http.response import FtpReplies, Response
from worker.transfer.interfaces import AddressPolicy
from worker.transfer.response_rules import Classification
from worker.transfer.segments import Segment
from worker.transfer.sources import Source
from worker.transfer.spec import TransferOptions
from worker.transfer.stall_detector import StallDetector

#: A system takes 1,024 buffers in one call.
_MAX_CHUNKS = 512
#: The body of a redirect or an error is read up to here, so that its connection can be used again.
_MAX_DISCARDED_BODY = 64 * 1024
#: Bytes of header, those of 1xx answers before it included.
_MAX_HEADER = 256 * 1024
_STOP = 0  # a write callback that takes fewer bytes than it was given ends the request


class Connection:
    """A request for (the rest of) one segment.

    Args:
        on_response: called once, when status and header are there; returns whether the body is of use,
            or raises.
        write: gets (connection, chunks): puts them on disk at the segment's position.
        try_consume: asked before so many bytes are taken, or decoded; no stops the body until `resume`.

    Attributes:
        classification: what the answer was found to be.
        is_accepted: the body belongs into the segment.
        expected_end: where in the file (exclusive) the answer's body ends, by its own word, or None.
        decoder: undoes the body's encoding, where the job wants that.
        is_paused: the body waits for its rate, or for the decoder.
        received: bytes of the body, as sent.
        is_received: the response has come to its end; some of its body may still have to be decoded.
        watch: how fast they come.
        error: what went wrong in a callback.
    """

    def __init__(
        self,
        source: Source,
        request: Request,
        segment: Segment,
        *,
        on_response: Callable[[Connection], bool],
        write: Callable[[Connection, list[bytes]], None],
        try_consume: Callable[[int], bool],
    ) -> None:
        self.source, self.request, self.segment = source, request, segment
        self.response = Response()
        self.redirects = 0
        self.received = 0
        self.stall = StallDetector(time.monotonic())
        self.is_classified = self.is_accepted = False
        self.accepted_at = 0.0
        self.classification: Classification | None = None
        self.expected_end: int | None = None
        self.truncated_by_split = self.is_paused = self.is_received = False
        self.decoder: Decoder | None = None
        self.error: Exception | None = None
        self.handle: Any = None
        self._on_response = on_response
        self._write = write
        self._try_consume = try_consume
        self._chunks: list[bytes] = []
        self._pending = 0
        self._buffer = 0
        #: Bytes that were taken and have not been decoded: their output is paid for up to this.
        self._undecoded_credit = 0
        self._ftp = FtpReplies()
        self._header_size = 0
        self._refused_address: str | None = None
        self._is_ipv6 = False
        self._guard: AddressPolicy | None = None
        self._sockets: list[socket.socket] = []

    def attach(
        self, handle: Any, options: TransferOptions, guard: AddressPolicy, buffer: int
    ) -> None:
        """Set a libcurl handle up for this request; `buffer` is how much is read and written at once."""
        self.handle, self._buffer = handle, buffer
        # A proxy resolves names itself, and what we connect to is the proxy.
        self._guard = None if options.proxy else guard
        configure(handle, self.request, options, buffer)
        handle.setopt(pycurl.WRITEFUNCTION, self._on_body)
        handle.setopt(pycurl.OPENSOCKETFUNCTION, self._on_connect)
        handle.setopt(pycurl.HEADERFUNCTION, self._on_header)

    def follow_redirect(self, request: Request) -> None:
        """Begin again at another URL, for the same segment."""
        self.request = request
        self.redirects += 1
        self.response = Response()
        self.received = self._header_size = 0
        self.is_classified = self.is_accepted = self.is_received = False
        self.error = None
        self._refused_address = None
        self.stall = StallDetector(time.monotonic())

    def flush(self) -> None:
        """Write what has come."""
        if self._pending:
            chunks, self._chunks, self._pending = self._chunks, [], 0
            self._write(self, chunks)

    @property
    def can_resume(self) -> bool:
        """Whether the body waits, and not for the decoder."""
        return self.is_paused and not self.has_undecoded

    def resume(self) -> None:
        """Take up again what waited for its rate. Not from inside a callback."""
        self.is_paused = False
        self.handle.pause(pycurl.PAUSE_CONT)

    @property
    def has_undecoded(self) -> bool:
        """Whether the decoder has work: until it is done, no more of the body is taken."""
        return self.decoder is not None and self.error is None and self.decoder.has_work

    def decode(self) -> None:
        """Decode a bounded amount of what has come, within the rate. Failures are kept in `error`."""
        try:
            self._decode()
            self.flush()
        except Exception as error:
            self.error = error

    def close_sockets(self) -> None:
        """Close our ends of the sockets: pycurl works on duplicates."""
        for opened in self._sockets:
            opened.close()
        self._sockets.clear()

    def classify(self, *, has_content: bool = False) -> None:
        """Have the answer judged, if it has not been: it may have had no body."""
        if not self.is_classified:
            if not self.response.is_complete:
                raise TransientError("The connection broke inside the header.", code="reset")
            self.is_classified = True
            if self.request.is_ftp:
                self.response = self._ftp.to_response(self.request.first)
            self.response.has_content = has_content
            self.is_accepted = self._on_response(self)
            self.accepted_at = time.monotonic()

    def failure(self, code: int, detail: str) -> Exception | None:
        """Return why this request did not do what it was to do; None when it did.

        Args:
            code: libcurl's, 0 for success.
            detail: libcurl's own words.
        """
        if self.error is not None:
            return self.error
        if code == 0:
            return self._incomplete_body_error()
        if self.response.status == 0 and (lack := self._resource_error(code, detail)) is not None:
            return lack
        if self.truncated_by_split:
            return None
        if self._refused_address is not None and self.response.status == 0:
            return error_mapping.forbidden_address_error(self._refused_address)
        if self.is_classified and not self.is_accepted:
            return None  # ended by us, in the middle of a body that nobody wants
        if self._proxy_refused():
            return error_mapping.error_for_proxy_response(self.response, self.request)
        if self.response.status >= 400:
            return error_mapping.error_for_response(self.response, self.request)
        if code == pycurl.E_COULDNT_RESOLVE_HOST:
            return resolving.resolution_error(host_of(self.request.url) or "")
        return error_mapping.error_for_curl_code(code, detail)

    def _resource_error(self, code: int, detail: str) -> WorkerResourcesError | None:
        system_errno = self.handle.getinfo(pycurl.OS_ERRNO)
        return resource_error_for_curl_code(code, system_errno, detail, is_ipv6=self._is_ipv6)

    def _proxy_refused(self) -> bool:
        """Say whether the proxy answered CONNECT, and not with a success."""
        status = self.handle.getinfo(pycurl.HTTP_CONNECTCODE) if self.request.proxy else 0
        return bool(status) and not 200 <= status < 300

    def _incomplete_body_error(self) -> TransientError | None:
        """A body that libcurl found complete may still be shorter than its Content-Range."""
        if self.decoder is not None:
            try:
                self.decoder.finish()
            except TransientError as error:
                return error
        end = self.expected_end
        if end is None or not self.is_accepted:
            return None
        if self.segment.end is not None:
            end = min(end, self.segment.end)
        if self.segment.position + self._pending >= end:
            return None
        return TransientError(
            f"The origin expected_end bytes up to {end:,} and sent them up to "
            f"{self.segment.position + self._pending:,}.",
            code="truncated",
        )

    # ── libcurl's callbacks: they keep errors, they never raise ─────────────────────────────────

    def _on_header(self, line: bytes) -> int | None:
        self._header_size += len(line)
        if self._header_size > _MAX_HEADER:
            self.error = PermanentError(
                f"The origin's header has more than {_MAX_HEADER:,} bytes.",
                code="headers_too_large",
            )
            return _STOP
        (self._ftp if self.request.is_ftp else self.response).feed(line)
        return None

    def _on_body(self, data: bytes) -> int | None:
        try:
            if not self.is_classified:
                self.classify(has_content=True)
            if self.has_undecoded or not self._try_consume(len(data)):
                self.is_paused = True
                return int(pycurl.WRITEFUNC_PAUSE)  # libcurl keeps the data for `resume`
            self.received += len(data)
            if not self.is_accepted:
                return None if self.received <= _MAX_DISCARDED_BODY else _STOP
            if self.decoder is None:
                return self._take(data)
            self.decoder.feed(data)
            self._undecoded_credit += len(data)
            self._decode()
            return None
        except Exception as error:
            self.error = error
            return _STOP

    def _decode(self) -> None:
        """Do one step of decoding. What it returns beyond what was received is taken from the rate."""
        if self.decoder is None or not self._try_consume(0):
            return
        data = self.decoder.step()
        self._try_consume(max(0, len(data) - self._undecoded_credit))
        self._undecoded_credit = max(0, self._undecoded_credit - len(data))
        self._take(data)

    def _take(self, data: bytes) -> int | None:
        segment = self.segment
        position = segment.position + self._pending
        end = position + len(data)
        if self.expected_end is not None and end > self.expected_end:
            raise TransientError(
                f"The origin expected_end bytes up to {self.expected_end:,} and sends more.",
                code="too_long",
            )
        if segment.end is not None and end > segment.end:
            # Somebody else has taken the rest of this segment over.
            self.truncated_by_split = True
            data = data[: segment.end - position]
        if data:
            self._chunks.append(data)
            self._pending += len(data)
        if self._pending >= self._buffer or len(self._chunks) >= _MAX_CHUNKS:
            self.flush()
        return _STOP if self.truncated_by_split else None

    def _on_connect(self, _purpose: int, address: Any) -> Any:
        family, kind, protocol, where = address
        if self._guard is not None and not self._guard.allows(where[0]):
            self._refused_address = where[0]
            return pycurl.SOCKET_BAD
        self._is_ipv6 = family == socket.AF_INET6
        try:
            opened = socket.socket(family, kind, protocol)
            self._sockets.append(opened)
            os.close(os.dup(opened.fileno()))  # pycurl is about to, and would not tell
        except OSError as error:
            self.error = resource_error_of(error)
            return pycurl.SOCKET_BAD
        return opened
