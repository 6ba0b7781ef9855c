"""The open connections of one transfer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from operator import attrgetter

from domain.urls import host_of
from worker.transfer.connection import Connection
from worker.transfer.http.curl_options import CookieJars
from worker.transfer.http.error_mapping import forbidden_address_error
from worker.transfer.http.request import Adaptation
from worker.transfer.interfaces import EngineResources
from worker.transfer.network import Network
from worker.transfer.sources import Sources

#: A socket is read again when about this many bytes should have come: reading fewer costs as much.
_READ_BYTES = 256 * 1024
#: The longest time from one read to the next, and the shortest that saves anything. Seconds.
_MAX_PACE = 0.25
_MIN_PACE = 0.02
#: A slow one is read less often, as long as the receive window of a new socket holds what comes.
_SLOW_PACE = 0.5
_WINDOW = 48 * 1024
#: After its response, a connection is read without such waits for this long. Seconds.
_WARM_UP = 0.3

#: For each turn and tick of a transfer, without a generator.
_IS_HELD_BACK, _NEEDS_TURN = attrgetter("is_held_back"), attrgetter("needs_turn")

#: A request that has ended: its connection, libcurl's code (0 for success) and libcurl's message.
Finished = tuple[Connection, int, str]


class ConnectionPool:
    """The connections of one transfer. Belongs to the event loop's thread.

    Args:
        may_continue: called with 0; returns whether bodies may be received that waited for the rate or
            the disk.
        wake: called when a request has ended.

    Attributes:
        connections: the open ones.
        adaptation: how requests are adapted to the origin from now on.
    """

    def __init__(
        self,
        sources: Sources,
        resources: EngineResources,
        network: Network,
        *,
        may_continue: Callable[[int], bool],
        wake: Callable[[], None],
    ) -> None:
        self._sources, self._network, self._curl = sources, network, network.curl
        self._may_continue, self._wake = may_continue, wake
        self._options, self._policy = resources.options, resources.address_policy
        self.connections: list[Connection] = []
        self.adaptation = Adaptation()
        self._ended: list[Finished] = []
        self._jars = CookieJars()

    # ── open and close ──────────────────────────────────────────────────────────────────────────

    def open(self, connection: Connection) -> None:
        """Add a connection and send its request.

        Raises:
            PermanentError: the request would go to a forbidden address.
        """
        self.check_host(connection.request.url)
        connection.source.active_requests += 1
        self.connections.append(connection)
        self._send(connection)

    def follow_redirect(self, connection: Connection, url: str) -> None:
        """Send the request of a finished connection to another URL."""
        self._curl.release(connection.handle)
        connection.follow_redirect(replace(connection.request, url=url))
        self._send(connection)

    def check_host(self, url: str) -> None:
        """Raise PermanentError when a proxy would have to connect to a forbidden address.

        Behind a proxy the check at the socket sees only the proxy's address.
        """
        host = host_of(url) or ""
        if self._options.proxy and not self._policy.allows_host(host):
            raise forbidden_address_error(host)

    def _send(self, connection: Connection) -> None:
        url = connection.request.url
        username, password = self._sources.login_for(url)
        connection.request = replace(
            connection.request,
            headers=self._sources.headers_for(url),
            cookies=self._sources.cookies_for(url),
            username=username,
            password=password,
            proxy=self._options.proxy,
            adaptation=self.adaptation,
        )
        handle, buffer = self._curl.acquire(), self._network.buffer
        connection.attach(handle, self._options, self._policy, buffer)
        self._jars.attach(connection.handle, url)
        self._curl.start(connection.handle, partial(self._on_end, connection))

    def close(self, connection: Connection) -> None:
        """End a connection, whether its request is running or not."""
        connection.source.active_requests -= 1
        self.connections.remove(connection)
        self._curl.release(connection.handle)
        connection.close()

    # ── run ─────────────────────────────────────────────────────────────────────────────────────

    @property
    def is_held_back(self) -> bool:
        """Whether this worker holds a body back, for the rate limit, the disk or the decoder."""
        return any(map(_IS_HELD_BACK, self.connections))

    @property
    def needs_turn(self) -> bool:
        """Whether a body goes on only when the transfer lets it."""
        return any(map(_NEEDS_TURN, self.connections))

    def serve(self) -> Iterator[Finished]:
        """Pass on what has been received, then yield the requests that have ended.

        The caller may close connections between two items; closed ones are not yielded.
        """
        now = time.monotonic()
        for connection in self.connections:
            received = connection.flush()
            if connection.can_resume and self._may_continue(0):
                connection.resume()
            connection.close_sockets()
            if received and not connection.request.is_ftp:
                self._pace(connection, now)
        ended, self._ended = self._ended, []
        for connection, code, detail in ended:
            connection.is_received = code == 0
            if connection in self.connections and (code != 0 or not connection.has_undecoded):
                yield connection, code, detail
        for connection in [one for one in self.connections if one.has_undecoded]:
            yield from self._decode(connection)

    def _on_end(self, connection: Connection, code: int, detail: str) -> None:
        self._ended.append((connection, code, detail))
        self._wake()

    def _decode(self, connection: Connection) -> Iterator[Finished]:
        if connection not in self.connections:
            return
        connection.decode()
        is_done = connection.is_received and not connection.has_undecoded
        if is_done or connection.error is not None:
            yield connection, 0, ""

    def _pace(self, connection: Connection, now: float) -> None:
        """Let more bytes arrive before a socket is read again: this saves CPU."""
        pace = 0.0
        if now - connection.accepted_at >= _WARM_UP:
            speed = max(connection.stall.average(now, connection.received), 1.0)
            missing = connection.segment.remaining or _READ_BYTES
            longest = _SLOW_PACE if speed * _SLOW_PACE <= _WINDOW else _MAX_PACE
            pace = min(longest, min(_READ_BYTES, missing) / speed)
        connection.set_pace(self._curl, pace if pace >= _MIN_PACE else 0.0)
