"""An HTTP/1.1 origin for tests that can misbehave on purpose.

    with Origin() as origin:
        f = origin.serve("/file.bin", size=5_000_000, truncate_after=1000, faults=1)
        ...                                      # let the code under test download f.url
        f.behave(truncate_after=None)            # heal it
        assert origin.requests_for("/file.bin")[0].bytes_sent == 1000

`Behaviour` in `origin_behaviour` lists everything a resource can do wrong.
"""

from __future__ import annotations

import dataclasses
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from tests.support.origins.behaviour import Behaviour, Plan, Request, parse_range, plan_error
from tests.support.origins.connection import Connection
from tests.support.origins.content import BytesContent, Content, GeneratedContent
from tests.support.origins.resource import ServedFile

__all__ = ["Behaviour", "Origin", "RequestLog", "ServedFile"]

HOST = "127.0.0.1"
JOIN_TIMEOUT = 5.0  # seconds `close` gives a thread to end


@dataclass
class RequestLog:
    """One request as the origin saw it.

    `range` is what was asked: (first, last), (first, None), (-n, None) for the last n bytes, or
    None. `first` is where in the resource the body begins. `bytes_sent` counts body bytes; `started`
    and `ended` are `time.monotonic()` seconds, `ended` is None while the answer is being sent. A client
    that has the whole answer finds both final; after a failure or an early leave they settle within
    moments.
    """

    method: str
    path: str
    query: str
    headers: dict[str, str]
    range: tuple[int, int | None] | None
    started: float
    status: int
    bytes_sent: int = 0
    ended: float | None = None
    first: int = 0


class Origin:
    """The server: a free port, one thread a connection. Listens once made.

    Args: host: the address to listen at, IPv4 or IPv6.
    """

    def __init__(self, host: str = HOST) -> None:
        self._host = host
        self._lock = threading.RLock()  # `respond` may look at the log
        self._files: dict[str, ServedFile] = {}
        self._log: list[RequestLog] = []
        self._numbers: Counter[str] = Counter()
        self._active: dict[str, list[_Exchange]] = {}
        self._most: dict[str, int] = {}
        self._furthest: dict[str, int] = {}
        self._connections: list[Connection] = []
        self._overrule: Callable[[Request, Plan], Plan] | None = None
        self._closing = threading.Event()
        self._listener = socket.create_server(
            (host, 0), backlog=256, family=socket.AF_INET6 if ":" in host else socket.AF_INET
        )
        self.port: int = self._listener.getsockname()[1]
        self._acceptor = threading.Thread(target=self._accept, name="origin", daemon=True)
        self._acceptor.start()

    def serve(
        self,
        path: str,
        *,
        size: int | None = None,
        body: bytes | None = None,
        seed: str | None = None,
        **behaviour: Any,
    ) -> ServedFile:
        """Serve `body`, or `size` bytes made from `seed` (the path, unless given), at `path`.

        Serving a path again replaces what was there: with another seed it is a changed resource
        with another ETag. Raises `ValueError` unless one of size and body is given, and
        `TypeError` for a behaviour that `Behaviour` does not have.
        """
        if (size is None) == (body is None):
            raise ValueError("give either size or body")
        content: Content
        if body is not None:
            content = BytesContent(body)
        else:
            content = GeneratedContent(path if seed is None else seed, size or 0)
        served = ServedFile(self.url(path), path, content, behaviour)
        with self._lock:
            self._files[path] = served
        return served

    def overrule(self, respond: Callable[[Request, Plan], Plan] | None) -> None:
        """Let `respond` have the last word on the answers for all paths; None undoes it.

        It gets the planned answer and returns the one to send, the same one changed or another.
        """
        with self._lock:
            self._overrule = respond

    def drop_connections(self) -> None:
        """End every connection there is, in the middle of an answer or not; new ones are welcome."""
        for connection in self._connections:
            connection.shut_down()

    def url(self, path: str) -> str:
        """The address of a path such as "/file.bin"."""
        shown = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{shown}:{self.port}{path}"

    @property
    def requests(self) -> list[RequestLog]:
        """Every request so far in order of arrival; a copy that does not change."""
        with self._lock:
            return [dataclasses.replace(entry) for entry in self._log]

    def requests_for(self, path: str) -> list[RequestLog]:
        """The requests for one path, whatever their query."""
        return [entry for entry in self.requests if entry.path == path]

    def max_concurrent(self, path: str) -> int:
        """The most GET requests for a path that were being answered at one moment.

        A request whose client had left by then does not count.
        """
        with self._lock:
            return self._most.get(path, 0)

    def furthest(self, path: str) -> int:
        """How many bytes of a path a client can have: up to the last one that ever left here."""
        with self._lock:
            return self._furthest.get(path, 0)

    def bytes_sent_twice(self, path: str) -> int:
        """How many body bytes of a path left here more than once, by all answers with 200 and 206.

        What a client did not read any more counts as well: a few megabytes fit on the way to it.
        """
        spans = sorted(_spans(self.requests_for(path)))
        twice, end = 0, 0
        for first, stop in spans:
            twice += max(0, min(stop, end) - first)
            end = max(end, stop)
        return twice

    def sent_at_once(self, path: str) -> list[tuple[RequestLog, RequestLog]]:
        """Pairs of answers that were on their way at one moment and sent some of the same bytes."""
        entries = [entry for entry in self.requests_for(path) if _spans([entry])]
        return [
            (one, other)
            for number, one in enumerate(entries)
            for other in entries[number + 1 :]
            if one.ended is None or one.ended > other.started
            if min(one.first + one.bytes_sent, other.first + other.bytes_sent)
            > max(one.first, other.first)
        ]

    def close(self) -> None:
        """Close every connection at once and join the threads. Closing again does nothing.

        Raises `RuntimeError` when a thread does not end within 5 s.
        """
        if self._closing.is_set():
            return
        self._closing.set()
        # Wakes accept, which closing its socket from another thread would not.
        socket.create_connection((self._host, self.port), timeout=JOIN_TIMEOUT).close()
        self._acceptor.join(JOIN_TIMEOUT)
        self._listener.close()
        for connection in self._connections:
            connection.shut_down()
        threads = [self._acceptor, *(connection.thread for connection in self._connections)]
        for thread in threads:
            thread.join(JOIN_TIMEOUT)
        if any(thread.is_alive() for thread in threads):
            raise RuntimeError("a thread of the test origin did not end")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            if self._closing.is_set():
                client.close()
                return
            connection = Connection(client, self._closing, self._begin)
            self._connections = [c for c in self._connections if c.thread.is_alive()]
            self._connections.append(connection)
            connection.thread.start()

    def _begin(self, connection: Connection, request: Request) -> _Exchange:
        """Plan the answer to a request and log its arrival; one request after the other."""
        with self._lock:
            request = self._numbered(request)
            served = self._files.get(request.path)
            behaviour, plan = _plan_for(served, request)
            if self._overrule is not None:
                plan = self._overrule(request, plan)
            entry = RequestLog(
                request.method,
                request.path,
                request.query,
                dict(request.headers),
                parse_range(request.headers.get("range")),
                time.monotonic(),
                plan.status,
                first=plan.start,
            )
            exchange = _Exchange(self, connection, entry, behaviour, plan)
            self._log.append(entry)
            self._numbers[entry.path] += 1
            if request.method == "GET":
                self._count(exchange)
        return exchange

    def _numbered(self, request: Request) -> Request:
        path = request.path
        self._active[path] = [other for other in self._active.get(path, []) if other.goes_on()]
        number = 1 + self._numbers[path]
        return dataclasses.replace(request, number=number, others=len(self._active[path]))

    def _count(self, exchange: _Exchange) -> None:
        path = exchange.entry.path
        self._active[path].append(exchange)
        self._most[path] = max(self._most.get(path, 0), len(self._active[path]))


def _spans(entries: list[RequestLog]) -> list[tuple[int, int]]:
    """The half-open parts of their resource that answers have sent."""
    return [
        (entry.first, entry.first + entry.bytes_sent)
        for entry in entries
        if entry.method == "GET" and entry.status in (200, 206) and entry.bytes_sent
    ]


def _plan_for(served: ServedFile | None, request: Request) -> tuple[Behaviour, Plan]:
    if request.method not in ("GET", "HEAD"):
        plan = plan_error(405)
        plan.close = True  # a body of the request may follow, which is not read
        return Behaviour(), plan
    return served.plan(request) if served else (Behaviour(), plan_error(404))


class _Exchange:
    """The log's side of one request; the `Exchange` of `origin_connection`."""

    def __init__(
        self,
        origin: Origin,
        connection: Connection,
        entry: RequestLog,
        behaviour: Behaviour,
        plan: Plan,
    ) -> None:
        self._lock = origin._lock
        self._furthest = origin._furthest
        self._connection = connection
        self.entry = entry
        self.behaviour = behaviour
        self.plan = plan

    def goes_on(self) -> bool:
        """Whether a client is there that still waits for the answer (lock held)."""
        return self.entry.ended is None and not self._connection.client_left()

    def sent(self, count: int) -> None:
        path, status = self.entry.path, self.entry.status
        with self._lock:
            self.entry.bytes_sent = count
            if status in (200, 206):
                stands_at = self.entry.first + count
                self._furthest[path] = max(self._furthest.get(path, 0), stands_at)

    def finish(self) -> None:
        with self._lock:
            if self.entry.ended is None:
                self.entry.ended = time.monotonic()
