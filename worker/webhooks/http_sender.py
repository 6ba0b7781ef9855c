"""The HTTP requests of deliveries: many at once, on the thread that calls `wait`."""

from __future__ import annotations

import socket
import time
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import pycurl

from domain.urls import host_of
from worker.transfer.http.address_guard import AddressGuard
from worker.transfer.http.curl_options import ca_file
from worker.transfer.http.error_mapping import (
    error_for_curl_code,
    forbidden_address_error,
    parse_retry_after,
)

#: A request that has no complete response by then has failed. Seconds.
REQUEST_TIMEOUT = 20.0
_CONNECT_TIMEOUT = 10.0
#: Of a response's body and its header, each. More is not read; the status counts.
MAX_RESPONSE = 64 * 1024
_END_REQUEST = -1

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderOptions:
    """What all requests have in common."""

    guard: AddressGuard
    proxy: str
    ca_file: str | None
    user_agent: str
    timeout: float = REQUEST_TIMEOUT


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The result of one request.

    Attributes:
        status: of the response; 0 without one.
        error: why there is none, as a sentence.
        retry_after: seconds that the receiver asked for.
        seconds: how long it took.
    """

    status: int
    error: str | None
    retry_after: float | None
    seconds: float


class HttpSender(Generic[K]):
    """Sends POST requests. Redirects are not followed. Belongs to one thread.

    The address of each connection is checked before it is opened, as for downloads.
    """

    def __init__(self, options: SenderOptions) -> None:
        self._options = options
        self._multi = pycurl.CurlMulti()
        self._running: dict[Any, tuple[K, _Exchange]] = {}
        self._refused: list[tuple[K, Reply]] = []

    def __len__(self) -> int:
        """Return how many requests run."""
        return len(self._running) + len(self._refused)

    def start(self, key: K, url: str, headers: Mapping[str, str], body: bytes) -> None:
        """Start a request; `wait` returns its reply with this key."""
        options = self._options
        if options.proxy and not options.guard.allows_host(host_of(url) or ""):
            error = str(forbidden_address_error(host_of(url) or "The host"))
            self._refused.append((key, Reply(status=0, error=error, retry_after=None, seconds=0.0)))
            return
        exchange = _Exchange(options.guard if not options.proxy else None)
        handle = pycurl.Curl()
        _configure(handle, options, url, body)
        lines = [f"{name}: {value}".encode() for name, value in headers.items()]
        handle.setopt(pycurl.HTTPHEADER, [*lines, b"Expect:"])
        exchange.attach(handle)
        self._running[handle] = (key, exchange)
        self._multi.add_handle(handle)

    def wait(self, seconds: float) -> list[tuple[K, Reply]]:
        """Let the requests go on until one ends, for `seconds` at most; return those that ended."""
        ended, self._refused = self._refused, []
        until = time.monotonic() + seconds
        while not ended:
            self._multi.perform()
            ended = self._take_ended()
            left = until - time.monotonic()
            if ended or left <= 0:
                break
            if (
                self._multi.select(min(left, 0.1)) == -1
            ):  # no socket yet, as while a name is resolved
                time.sleep(min(left, 0.01))
        return ended

    def close(self) -> None:
        """Break off all requests."""
        for handle, (_key, exchange) in self._running.items():
            self._multi.remove_handle(handle)
            exchange.close(handle)
        self._running.clear()
        self._multi.close()

    def _take_ended(self) -> list[tuple[K, Reply]]:
        ended = []
        more = 1
        while more:
            more, good, bad = self._multi.info_read()
            results = [(handle, 0, "") for handle in good] + list(bad)
            for handle, code, message in results:
                key, exchange = self._running.pop(handle)
                ended.append((key, exchange.reply(handle, code, message)))
                self._multi.remove_handle(handle)
                exchange.close(handle)
        return ended


def _configure(handle: Any, options: SenderOptions, url: str, body: bytes) -> None:
    handle.setopt(pycurl.URL, url)
    handle.setopt(pycurl.NOSIGNAL, 1)
    handle.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
    handle.setopt(pycurl.FOLLOWLOCATION, 0)
    handle.setopt(pycurl.POST, 1)
    handle.setopt(pycurl.POSTFIELDS, body)
    handle.setopt(pycurl.CAINFO, options.ca_file or ca_file())
    # Both are always set, so that the proxy variables of the environment have no effect.
    handle.setopt(pycurl.PROXY, options.proxy)
    handle.setopt(pycurl.NOPROXY, "")
    handle.setopt(pycurl.USERAGENT, options.user_agent)
    handle.setopt(pycurl.CONNECTTIMEOUT_MS, round(min(_CONNECT_TIMEOUT, options.timeout) * 1000))
    handle.setopt(pycurl.TIMEOUT_MS, round(options.timeout * 1000))


@dataclass(slots=True)
class _Exchange:
    """What libcurl's callbacks of one request have seen."""

    guard: AddressGuard | None
    started: float = field(default_factory=time.monotonic)
    refused_address: str | None = None
    retry_after: str | None = None
    is_too_long: bool = False
    #: libcurl has duplicates of their descriptors.
    sockets: list[socket.socket] = field(default_factory=list)
    _received: int = 0
    _header: int = 0

    def attach(self, handle: Any) -> None:
        handle.setopt(pycurl.OPENSOCKETFUNCTION, self._on_connect)
        handle.setopt(pycurl.HEADERFUNCTION, self._on_header)
        handle.setopt(pycurl.WRITEFUNCTION, self._on_body)

    def close(self, handle: Any) -> None:
        handle.close()
        for one in self.sockets:
            one.close()

    def reply(self, handle: Any, code: int, message: str) -> Reply:
        """Return the reply of an ended request."""
        status = int(handle.getinfo(pycurl.RESPONSE_CODE))
        error = None
        if self.refused_address is not None:
            status, error = 0, str(forbidden_address_error(self.refused_address))
        elif code and not self.is_too_long:
            status, error = 0, str(error_for_curl_code(code, message))
        elif self._header > MAX_RESPONSE:
            status, error = 0, f"The response's header has more than {MAX_RESPONSE:,} bytes."
        return Reply(
            status=status,
            error=error,
            retry_after=parse_retry_after(self.retry_after),
            seconds=time.monotonic() - self.started,
        )

    def _on_connect(self, _purpose: int, address: Any) -> Any:
        family, kind, protocol, where = address
        if self.guard is not None and not self.guard.allows(where[0]):
            self.refused_address = where[0]
            return pycurl.SOCKET_BAD
        try:
            self.sockets.append(socket.socket(family, kind, protocol))
        except OSError:
            return pycurl.SOCKET_BAD
        return self.sockets[-1]

    def _on_header(self, line: bytes) -> int | None:
        self._header += len(line)
        if self._header > MAX_RESPONSE:
            self.is_too_long = True
            return _END_REQUEST
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"retry-after":
            self.retry_after = value.strip().decode("latin-1")
        return None

    def _on_body(self, data: bytes) -> int | None:
        self._received += len(data)
        if self._received > MAX_RESPONSE:
            self.is_too_long = True
            return _END_REQUEST
        return None
