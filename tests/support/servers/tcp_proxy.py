"""A TCP proxy between a client and a server: drops chosen packets, or all."""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, Self

HOST = "127.0.0.1"
CHUNK = 1 << 20
TICK = 0.02  # seconds between two looks at the pause and at the end

Fault = Literal["cut", "drop"]


@dataclass
class _Rule:
    """What to do with the first request that contains some bytes."""

    containing: bytes
    fault: Fault | None = None
    action: Callable[[], object] | None = None


@dataclass
class _Link:
    """One client's connection and its twin to the server."""

    client: socket.socket
    server: socket.socket
    fault: Fault | None = None
    answered: bool = True
    dead: bool = False
    """The client's half is open, and its peer is gone."""
    closed: threading.Event = field(default_factory=threading.Event)

    def close(self) -> None:
        """End both halves; safe from any thread, since only the pumping thread frees the sockets."""
        self.closed.set()
        for half in (self.client, self.server):
            with suppress(OSError):
                half.shutdown(socket.SHUT_RDWR)


class Proxy:
    """Passes bytes to `port` on 127.0.0.1 and back, until a test makes it lose some.

    Attributes:
        port: where it listens.
        delay: seconds by which every piece is late, in both directions.
    """

    def __init__(self, port: int) -> None:
        """Listen at once; the server need not run yet."""
        self.delay = 0.0
        self._refusing = False
        self._target = (HOST, port)
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self._mutex = threading.Lock()
        self._rules: list[_Rule] = []
        self._links: list[_Link] = []
        self._threads: list[threading.Thread] = []
        self._flowing = threading.Event()
        self._flowing.set()
        self._closing = threading.Event()
        self._requests = 0
        self._start(self._accept)

    @property
    def addr(self) -> str:
        """Where it listens: "127.0.0.1:port"."""
        return f"{HOST}:{self.port}"

    @property
    def round_trips(self) -> int:
        """How often a client has sent something after an answer.

        A pipeline of many kilobytes leaves in several pieces, and counts once more for each answer that
        overtakes its next piece.
        """
        with self._mutex:
            return self._requests

    def cut_after_request(self, containing: bytes = b"") -> None:
        """Let the server run the next request with these bytes, and cut the line before its reply."""
        self._add(_Rule(containing, fault="cut"))

    def drop_next_reply(self, containing: bytes = b"") -> None:
        """Let the server run the next request with these bytes, and swallow the reply: silence."""
        self._add(_Rule(containing, fault="drop"))

    def before(self, containing: bytes, action: Callable[[], object]) -> None:
        """Call `action` once, before the next request with these bytes reaches the server."""
        self._add(_Rule(containing, action=action))

    def pause(self) -> None:
        """Pass nothing in either direction, new connections included, until `resume`."""
        self._flowing.clear()

    def resume(self) -> None:
        """Undo `pause`; what was sent meanwhile goes on its way."""
        self._flowing.set()

    def cut(self) -> None:
        """End every connection there is, and new ones at once, until `heal`."""
        self._refusing = True
        self.close_all()

    def half_open(self) -> None:
        """Take the peer away from every open connection, until `heal`.

        The server finds it closed; its client is not notified, and gets no replies. New ones work.
        """
        for link in self._all_links():
            link.dead = True
            with suppress(OSError):
                link.server.shutdown(socket.SHUT_RDWR)

    def heal(self) -> None:
        """Undo `cut`, `half_open`, `pause` and `delay`; half-open connections end."""
        self.delay = 0.0
        self._refusing = False
        for link in self._all_links():
            if link.dead:
                link.close()
        self.resume()

    def close_all(self) -> None:
        """End every connection there is; new ones are welcome."""
        for link in self._all_links():
            link.close()

    @property
    def idle(self) -> bool:
        """Whether every fault and action that was asked for has been used up."""
        with self._mutex:
            return not self._rules

    def close(self) -> None:
        """Stop listening and end every connection."""
        self._closing.set()
        self._flowing.set()
        self.close_all()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the accepting thread
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _all_links(self) -> list[_Link]:
        with self._mutex:
            return list(self._links)

    def _add(self, rule: _Rule) -> None:
        with self._mutex:
            self._rules.append(rule)

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, name="proxy", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._refusing:
                client.close()
                continue
            try:
                server = socket.create_connection(self._target, timeout=5)
            except OSError:
                client.close()
                continue
            link = _Link(client, server)
            with self._mutex:
                self._links.append(link)
            if self._refusing:  # since a moment ago: `cut` has not seen this one
                link.close()
            self._start(self._pump, link)

    def _pump(self, link: _Link) -> None:
        with link.client, link.server, selectors.DefaultSelector() as selector:
            selector.register(link.client, selectors.EVENT_READ, self._to_server)
            selector.register(link.server, selectors.EVENT_READ, self._to_client)
            with suppress(OSError):
                while not link.closed.is_set() and not self._closing.is_set():
                    ready = selector.select(TICK)
                    self._flowing.wait()
                    if link.dead:
                        while link.client.recv(CHUNK):
                            pass
                        break
                    if not all(key.data(link) for key, _ in ready):
                        break
        with self._mutex:
            self._links.remove(link)

    def _to_server(self, link: _Link) -> bool:
        data = link.client.recv(CHUNK)
        if not data:
            return False
        with self._mutex:
            self._requests += link.answered
            matching = [rule for rule in self._rules if rule.containing in data]
            if matching:
                self._rules.remove(matching[0])
        link.answered = False
        if matching and matching[0].action is not None:
            matching[0].action()
        link.fault = matching[0].fault if matching else link.fault
        self._closing.wait(self.delay)
        link.server.sendall(data)
        return True

    def _to_client(self, link: _Link) -> bool:
        data = link.server.recv(CHUNK)
        if not data or link.fault == "cut":
            return False
        link.answered = True
        if link.fault == "drop":
            link.fault = None
        else:
            self._closing.wait(self.delay)
            link.client.sendall(data)
        return True
