"""A proxy to a real server that refuses chosen commands, so that one reply of a pipeline is an error."""

from __future__ import annotations

import socket
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from tests.support.stores import resp

_HOST = "127.0.0.1"


class RefusingProxy:
    """Passes commands on to a server, but for those that have an argument with some bytes.

    Attributes:
        addr: where it listens: "127.0.0.1:port".
    """

    def __init__(self, port: int) -> None:
        self._target = (_HOST, port)
        self._listener = socket.create_server((_HOST, 0))
        self.addr = f"{_HOST}:{self._listener.getsockname()[1]}"
        self._refused: tuple[bytes, bytes] | None = None
        threading.Thread(target=self._accept, daemon=True).start()

    @contextmanager
    def refusing(self, containing: str, message: str) -> Iterator[None]:
        """Answer commands that contain a text with an error, as long as the block runs."""
        self._refused = containing.encode(), resp.error(message.encode())
        try:
            yield
        finally:
            self._refused = None

    def close(self) -> None:
        """End it; its connections end with their clients."""
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                _Link(self, client, server)

    def refusal_of(self, request: resp.Arguments) -> bytes | None:
        """Return the error for a command; None if it goes to the server."""
        refused = self._refused
        if refused is not None and any(refused[0] in argument for argument in request):
            return refused[1]
        return None


class _Link:
    def __init__(self, proxy: RefusingProxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy, self._client, self._server = proxy, client, server
        self._mutex = threading.Lock()
        #: For each command without reply its error; None where the server answers.
        self._waiting: deque[bytes | None] = deque()
        for pump in (self._requests, self._replies):
            threading.Thread(target=pump, daemon=True).start()

    def _requests(self) -> None:
        requests = resp.Requests()
        with self._ending():
            while data := self._client.recv(1 << 16):
                for request in requests.feed(data):
                    error = self._proxy.refusal_of(request)
                    with self._mutex:
                        self._waiting.append(error)
                        self._answer()
                    if error is None:
                        self._server.sendall(resp.command(*request))

    def _replies(self) -> None:
        replies = resp.Replies()
        with self._ending():
            while data := self._server.recv(1 << 16):
                for frame in replies.feed(data):
                    with self._mutex:
                        self._waiting.popleft()
                        self._client.sendall(frame)
                        self._answer()

    def _answer(self) -> None:
        """Send the errors whose turn it is."""
        while self._waiting and (error := self._waiting[0]) is not None:
            self._waiting.popleft()
            self._client.sendall(error)

    @contextmanager
    def _ending(self) -> Iterator[None]:
        with ExitStack() as stack:
            for half in (self._client, self._server):
                stack.callback(half.close)
                stack.callback(_shut, half)
            with suppress(OSError):
                yield


def _shut(half: socket.socket) -> None:
    with suppress(OSError):
        half.shutdown(socket.SHUT_RDWR)
