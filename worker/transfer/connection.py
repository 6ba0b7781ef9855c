"""One request and its response: libcurl's callbacks, and the bytes of one segment.

A callback must not raise. It stores its error in `error` and ends the request; the engine reads it then.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import pycurl

from domain.errors import PermanentError, TransientError, WorkerResourcesError
from domain.urls import host_of
from worker.resources import resource_error_for_curl_code, resource_error_of
from worker.transfer.http import error_mapping
from worker.transfer.http.curl_loop import CurlLoop
from worker.transfer.http.curl_options import configure
from worker.transfer.http.decoding import Decoder
from worker.transfer.http.request import Request
from worker.transfer.http.response import FtpReplies, Response
from worker.transfer.interfaces import AddressPolicy, TransferOptions
from worker.transfer.network import ONE_TURN, TransferBytes
from worker.transfer.response_rules import Classification
from worker.transfer.segments import Segment
from worker.transfer.sources import Source
from worker.transfer.stall_detector import StallDetector

#: The body of a redirect or an error is read up to this size, so that its socket can be reused.
_MAX_DISCARDED_BODY = 64 * 1024
#: Bytes of header, including those of 1xx responses.
_MAX_HEADER = 256 * 1024
#: While a body is read at a pace, so many of its bytes are worth a turn of the transfer's coroutine.
_WORTH_A_TURN = 64 * 1024
_END_REQUEST = 0  # a write callback that returns fewer bytes than it got ends the request


class Connection:
    """A request for (the rest of) one segment.

    Args:
        on_response: called once, when status and headers are complete; returns whether the body is to
            be written, or raises.
        write: called with (connection, chunks) to write them after what is received of the segment.
        may_receive: called with a number of bytes before they are read or decoded; when it returns
            False the body waits until `resume`.
        wake: called when something has happened that the transfer must handle.
        waiting: the received bytes of the transfer that are not written yet.

    Attributes:
        classification: what the response means.
        is_accepted: the body is written to the segment.
        expected_end: offset in the file (exclusive) at which the body ends by its headers, or None.
        decoder: undoes the body's Content-Encoding; None when there is none to undo.
        is_paused: libcurl holds the body back, for the rate limit, for the disk or for the decoder.
        received: bytes of the body, as sent.
        is_received: the response is complete; some of its body may still wait for the decoder.
        truncated_by_split: the request ended early because the segment was split.
        stall: measures the speed of the body.
        error: the error of a callback.
    """

    def __init__(
        self,
        source: Source,
        request: Request,
        segment: Segment,
        *,
        on_response: Callable[[Connection], bool],
        write: Callable[[Connection, list[bytes]], None],
        may_receive: Callable[[int], bool],
        wake: Callable[[], None],
        waiting: TransferBytes,
    ) -> None:
        self.source, self.request, self.segment = source, request, segment
        self._on_response, self._write, self._wake = on_response, write, wake
        self._may_receive, self._waiting = may_receive, waiting
        self.redirects = 0
        self.accepted_at = 0.0
        self.classification: Classification | None = None
        self.expected_end: int | None = None
        self.truncated_by_split = self.is_paused = self._was_held_back = False
        #: The body waits until others of its folder are written.
        self._is_in_line = False
        self._received_in_turn = 0
        self._read_socket: Callable[[], None] = lambda: None
        self._socket, self._pace = -1, -1.0
        self.decoder: Decoder | None = None
        self.handle: Any = None
        self._chunks: list[bytes] = []
        self._pending = 0
        #: Bytes that were consumed from the rate and are not decoded yet: their output is free so far.
        self._undecoded_credit = 0
        self._ftp = FtpReplies()
        self._is_ipv6 = False
        self._address_policy: AddressPolicy | None = None
        self._sockets: list[socket.socket] = []
        self._reset()

    def _reset(self) -> None:
        self.response = Response()
        self._feed = self._ftp.feed if self.request.is_ftp else self.response.feed
        self.received = self._header_size = self._wake_at = 0
        self._pace = -1.0
        self.is_classified = self.is_accepted = self.is_received = False
        self.error: Exception | None = None
        self._refused_address: str | None = None
        self.stall = StallDetector(time.monotonic())

    def attach(
        self, handle: Any, options: TransferOptions, policy: AddressPolicy, buffer: int
    ) -> None:
        """Configure a libcurl handle for this request, to read `buffer` bytes at once."""
        self.handle = handle
        # With a proxy, the socket leads to the proxy, which resolves the origin's name itself.
        self._address_policy = None if options.proxy else policy
        configure(handle, self.request, options, buffer)
        handle.setopt(pycurl.WRITEFUNCTION, self._on_body)
        handle.setopt(pycurl.OPENSOCKETFUNCTION, self._on_connect)
        handle.setopt(pycurl.HEADERFUNCTION, self._on_header)

    def follow_redirect(self, request: Request) -> None:
        """Continue with a request to another URL, for the same segment."""
        self.request = request
        self.redirects += 1
        self._reset()

    def flush(self) -> int:
        """Write the bytes received so far; return their number."""
        size = self._pending
        if size:
            chunks, self._chunks, self._pending = self._chunks, [], 0
            self._write(self, chunks)
        return size

    def set_pace(self, curl: CurlLoop, seconds: float) -> None:
        """Have the body read every so many seconds; 0 for as soon as bytes arrive. Not in a callback."""
        if self._pace == seconds and curl.is_paced(self._socket, seconds):
            return
        self._socket, self._pace = int(self.handle.getinfo(pycurl.ACTIVESOCKET)), seconds
        curl.pace(self._socket, seconds, self._may_read)
        self._read_socket = partial(curl.read_on, self._socket)
        self._wake_at = _WORTH_A_TURN if seconds else 0

    def _may_read(self) -> bool:
        if self._waiting.folder.is_full:
            self._stand_in_line()
            return False
        self._received_in_turn = 0
        return True

    def _stand_in_line(self) -> None:
        self._is_in_line = self._was_held_back = True
        self._waiting.folder.hold_back(self)

    def read_on(self) -> None:
        """Receive more: bytes of the folder were written."""
        self._is_in_line = False
        self._received_in_turn = 0
        if not self.is_paused:
            self._read_socket()
        elif self.can_resume and self._may_receive(0):
            self.resume()
        else:
            self._wake()

    @property
    def can_resume(self) -> bool:
        """Whether the body waits for the rate limit or the transfer's own bytes only."""
        return self.is_paused and not self._is_in_line and not self.has_undecoded

    def resume(self) -> None:
        """Continue a paused body. Not in a callback."""
        self.is_paused = False
        # libcurl passes on what it held back, within this call. If a callback ends the request by that,
        # pycurl raises, and libcurl reports the end of the request as well.
        with suppress(pycurl.error):
            self.handle.pause(pycurl.PAUSE_CONT)

    @property
    def has_undecoded(self) -> bool:
        """Whether the decoder has work; until it is done no more of the body is read."""
        return self.decoder is not None and self.error is None and self.decoder.has_work

    @property
    def is_held_back(self) -> bool:
        """Whether this worker holds the body back, so that the origin is not to blame for its speed."""
        return self._is_in_line or self.needs_turn

    @property
    def needs_turn(self) -> bool:
        """Whether its body goes on only when the transfer lets it."""
        if self.is_paused and not self._is_in_line:
            return True
        return self.decoder is not None and self.has_undecoded

    def was_held_back(self) -> bool:
        """Return whether it is or was held back since the last call of this."""
        was, self._was_held_back = self._was_held_back or self.is_held_back, False
        return was

    def decode(self) -> None:
        """Decode a bounded amount of the received bytes, within the rate; store failures in `error`."""
        try:
            self._decode()
            self.flush()
        except Exception as error:
            self.error = error

    def close(self) -> None:
        """Drop the bytes that are not passed on."""
        self._waiting.folder.forget(self)
        self._waiting.count(-self._pending)
        self._chunks, self._pending = [], 0
        self.close_sockets()

    def close_sockets(self) -> None:
        """Close our descriptors of the sockets: pycurl works on duplicates."""
        for opened in self._sockets:
            opened.close()
        self._sockets.clear()

    def classify(self, *, has_content: bool = False) -> None:
        """Have the response classified, unless it is: one without a body is when it ends."""
        if not self.is_classified:
            if not self.response.is_complete:
                raise TransientError("The connection broke inside the header.", code="reset")
            self.is_classified = True
            if self.request.is_ftp:
                self.response = self._ftp.to_response(self.request.first)
            self.response.has_content = has_content
            self.is_accepted = self._on_response(self)
            self.accepted_at = time.monotonic()

    # ── failures ────────────────────────────────────────────────────────────────────────────────

    def failure(self, code: int, detail: str) -> Exception | None:
        """Return the error of an ended request; None when it succeeded or was ended on purpose.

        Args:
            code: libcurl's, 0 for success.
            detail: libcurl's message.
        """
        if self.error is not None:
            return self.error
        if code == 0:
            return self._incomplete_body_error()
        no_response = self.response.status == 0
        if no_response and (shortage := self._resource_error(code, detail)) is not None:
            return shortage
        if self.truncated_by_split:
            return None
        if self._refused_address is not None and no_response:
            return error_mapping.forbidden_address_error(self._refused_address)
        if self.is_classified and not self.is_accepted:
            return None  # ended by us, in the middle of a body that is not written
        if self._proxy_refused():
            return error_mapping.error_for_proxy_response(self.response, self.request)
        if self.response.status >= 400:
            return error_mapping.error_for_response(self.response, self.request)
        if code == pycurl.E_COULDNT_RESOLVE_HOST:
            return error_mapping.resolution_error(host_of(self.request.url) or "")
        return error_mapping.error_for_curl_code(code, detail)

    def _resource_error(self, code: int, detail: str) -> WorkerResourcesError | None:
        system_errno = self.handle.getinfo(pycurl.OS_ERRNO)
        return resource_error_for_curl_code(code, system_errno, detail, is_ipv6=self._is_ipv6)

    def _proxy_refused(self) -> bool:
        """Return whether the proxy answered CONNECT with an error."""
        status = self.handle.getinfo(pycurl.HTTP_CONNECTCODE) if self.request.proxy else 0
        return bool(status) and not 200 <= status < 300

    def _incomplete_body_error(self) -> TransientError | None:
        """Return the error of a body that libcurl found complete and that ends before its range does."""
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
        position = self.segment.received + self._pending
        if position >= end:
            return None
        return TransientError(
            f"The origin announced bytes up to {end:,} and sent them up to {position:,}.",
            code="truncated",
        )

    # ── libcurl's callbacks: they store errors, they never raise ────────────────────────────────

    def _on_header(self, line: bytes) -> int | None:
        self._header_size += len(line)
        if self._header_size > _MAX_HEADER:
            self.error = PermanentError(
                f"The origin's header has more than {_MAX_HEADER:,} bytes.",
                code="headers_too_large",
            )
            return _END_REQUEST
        self._feed(line)
        return None

    def _on_body(self, data: bytes) -> int | None:
        if self._pending >= self._wake_at:
            self._wake()
        try:
            if not self.is_classified:
                self.classify(has_content=True)
            folder, size = self._waiting.folder, len(data)
            is_over = self._received_in_turn >= ONE_TURN or folder.is_overfull
            if is_over and folder.is_full:
                return self._pause(in_line=True)
            if self.has_undecoded or not self._may_receive(size):
                return self._pause(in_line=False)
            self.received += size
            self._received_in_turn += size
            if not self.is_accepted:
                return None if self.received <= _MAX_DISCARDED_BODY else _END_REQUEST
            if self.decoder is None:
                return self._append(data)
            self.decoder.feed(data)
            self._undecoded_credit += len(data)
            self._decode()
            return None
        except Exception as error:
            self.error = error
            self._wake()
            return _END_REQUEST

    def _pause(self, *, in_line: bool) -> int:
        """Have libcurl keep the body until `resume`, which takes place when the turn has come."""
        self.is_paused = self._was_held_back = True
        if in_line:
            self._stand_in_line()
        self._wake()
        return int(pycurl.WRITEFUNC_PAUSE)

    def _decode(self) -> None:
        """Do one step of decoding. Output beyond the received bytes is consumed from the rate."""
        if self.decoder is None or not self._may_receive(0):
            return
        data = self.decoder.step()
        self._may_receive(max(0, len(data) - self._undecoded_credit))
        self._undecoded_credit = max(0, self._undecoded_credit - len(data))
        self._append(data)

    def _append(self, data: bytes) -> int | None:
        """Buffer bytes of the file for the segment, until `flush`."""
        segment, size = self.segment, len(data)
        position = segment.received + self._pending
        end = position + size
        if self.expected_end is not None and end > self.expected_end:
            raise TransientError(
                f"The origin announced bytes up to {self.expected_end:,} and sends more.",
                code="too_long",
            )
        if segment.end is not None and end > segment.end:
            # The segment was split: another connection fetches the rest.
            self.truncated_by_split = True
            data = data[: segment.end - position]
            size = len(data)
        if size:
            self._chunks.append(data)
            self._pending += size
            self._waiting.count(size)
        return _END_REQUEST if self.truncated_by_split else None

    def _on_connect(self, _purpose: int, address: Any) -> Any:
        family, kind, protocol, where = address
        policy = self._address_policy
        if policy is not None and not policy.allows(where[0]):
            self._refused_address = where[0]
            return pycurl.SOCKET_BAD
        self._is_ipv6 = family == socket.AF_INET6
        try:
            opened = socket.socket(family, kind, protocol)
            self._sockets.append(opened)
            # pycurl duplicates the descriptor and does not report a failure to do so: try it here.
            os.close(os.dup(opened.fileno()))
        except OSError as error:
            self.error = resource_error_of(error)
            return pycurl.SOCKET_BAD
        return opened
