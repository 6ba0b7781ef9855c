"""The open connections of one transfer, and the libcurl loop that serves them."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from domain.urls import host_of
from worker.transfer.connection import Connection
from worker.transfer.http.curl_loop import thread_loop
from worker.transfer.http.curl_options import CookieJars, buffer_size
from worker.transfer.http.error_mapping import forbidden_address_error
from worker.transfer.http.request import Adaptation
from worker.transfer.interfaces import EngineResources
from worker.transfer.sources import Sources
from worker.transfer.token_bucket import TokenBucket

#: Only as many transfers as there are processors run libcurl at once, each behind one of these locks.
#: libcurl calls back for every 16 KiB: more threads would only pass the interpreter lock to and fro.
_CURL_LOCKS = [threading.Lock() for _ in range(os.cpu_count() or 1)]
_next_curl_lock = itertools.cycle(_CURL_LOCKS)


class _RunningTransfers:
    """Counts the transfers that run in this process: they share the memory for buffers."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self.count = 0

    @contextmanager
    def counted(self) -> Iterator[None]:
        self._add(1)
        try:
            yield
        finally:
            self._add(-1)

    def _add(self, number: int) -> None:
        with self._mutex:
            self.count += number


running_transfers = _RunningTransfers()

#: A request that has ended: its connection, libcurl's code (0 for success) and libcurl's message.
Finished = tuple[Connection, int, str]


class ConnectionPool:
    """The connections of one transfer. Belongs to the transfer's thread.

    Attributes:
        connections: the open ones.
        adaptation: how requests are adapted to the origin from now on.
    """

    def __init__(self, sources: Sources, resources: EngineResources, bucket: TokenBucket) -> None:
        self._sources, self._bucket = sources, bucket
        self._options, self._policy = resources.options, resources.address_policy
        self.connections: list[Connection] = []
        self.adaptation = Adaptation()
        self._loop = thread_loop()  # replaced by `use_thread`
        self._curl_lock = next(_next_curl_lock)
        self._jars = CookieJars()

    def use_thread(self) -> None:
        """Use the loop of the calling thread."""
        self._loop = thread_loop()

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
        self._loop.release(connection.handle)
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
        buffer = buffer_size(running_transfers.count)
        connection.attach(self._loop.acquire(), self._options, self._policy, buffer)
        self._jars.attach(connection.handle, url)
        self._loop.start(connection.handle)

    def close(self, connection: Connection) -> None:
        """End a connection, whether its request is running or not."""
        connection.source.active_requests -= 1
        self.connections.remove(connection)
        self._loop.release(connection.handle)
        connection.close_sockets()

    # ── run ─────────────────────────────────────────────────────────────────────────────────────

    @property
    def is_held_back(self) -> bool:
        """Whether this worker holds a body back, for the rate limit or for the decoder."""
        return any(one.is_held_back for one in self.connections)

    def wait(self, timeout: float) -> list[tuple[int, int]]:
        """Wait for socket events, or until bytes may be read again; return the events."""
        if self.is_held_back:
            timeout = min(timeout, self._bucket.seconds_until_ready())
        return self._loop.wait(timeout)

    def process(self, events: list[tuple[int, int]]) -> Iterator[Finished]:
        """Let libcurl read and write, then yield the requests that have ended.

        The caller may close connections between two items; closed ones are not yielded.
        """
        with self._curl_lock:
            for connection in self.connections:
                if connection.can_resume and self._bucket.seconds_until_ready() == 0:
                    connection.resume()
            self._loop.process(events)
            for connection in self.connections:
                connection.flush()
        for connection in self.connections:
            connection.close_sockets()
        yield from self._if_open(self._take_finished())
        yield from self._if_open(self._decode())

    def _take_finished(self) -> list[Finished]:
        finished: list[Finished] = []
        by_handle = {id(one.handle): one for one in self.connections}
        for handle, code, detail in self._loop.take_finished():
            connection = by_handle.get(id(handle))
            if connection is None:
                continue
            connection.is_received = code == 0
            if not connection.has_undecoded or code != 0:
                finished.append((connection, code, detail))
        return finished

    def _decode(self) -> Iterator[Finished]:
        """Decode further. Not under libcurl's lock, for which other transfers wait."""
        for connection in [one for one in self.connections if one.has_undecoded]:
            connection.decode()
            is_done = connection.is_received and not connection.has_undecoded
            if is_done or connection.error is not None:
                yield connection, 0, ""

    def _if_open(self, finished: Iterable[Finished]) -> Iterator[Finished]:
        return (one for one in finished if one[0] in self.connections)
