"""A forward proxy for HTTP that records its requests: absolute targets, and CONNECT for TLS."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.support.closing import Closing

HOST = "127.0.0.1"
CHUNK = 64 * 1024
TIMEOUT = 5.0  # seconds to connect, and to wait for a request head


@dataclass(frozen=True)
class Passed:
    """One request as the proxy saw it; the names of `headers` are in lower case."""

    method: str
    target: str
    headers: dict[str, str]


class HttpProxy(Closing):
    """One connection for one request; every answer ends with its connection. Listens once made.

    Args:
        refuse: gets each request; what it returns is sent instead of passing the request on.

    Attributes:
        port: where it listens.
        passed: the requests so far.
    """

    def __init__(self, refuse: Callable[[Passed], bytes | None] = lambda _request: None) -> None:
        self._refuse = refuse
        self.passed: list[Passed] = []
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, name="http-proxy", daemon=True)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        """The response to a client."""
        return f"http://{HOST}:{self.port}"

    def close(self) -> None:
        """Stop listening and end every connection."""
        for one in [self._listener, *self._open]:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        self._listener.close()

    def _start(self, target: object, *arguments: object) -> threading.Thread:
        assert callable(target)
        thread = threading.Thread(target=target, args=arguments, name="http-proxy", daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._open.append(client)
                self._start(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError, ValueError):
            client.settimeout(TIMEOUT)
            head = _read_head(client)
            first, *lines = head.decode("latin-1").split("\r\n")
            method, target, version = first.split(" ")
            pairs = [line.partition(":") for line in lines]
            headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
            self.passed.append(Passed(method, target, headers))
            refusal = self._refuse(self.passed[-1])
            if refusal is not None:
                client.sendall(refusal)
                client.shutdown(socket.SHUT_WR)
                return
            address = urlsplit(f"//{target}" if method == "CONNECT" else target)
            with socket.create_connection(
                (address.hostname or HOST, address.port or 80), timeout=TIMEOUT
            ) as server:
                self._open.append(server)
                if method == "CONNECT":
                    client.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
                else:
                    server.sendall(_forwarded(method, address.path, address.query, version, lines))
                self._pass_both_ways(client, server)

    def _pass_both_ways(self, client: socket.socket, server: socket.socket) -> None:
        client.settimeout(None)
        server.settimeout(None)
        back = self._start(_pump, server, client)
        _pump(client, server)
        back.join()


def _forwarded(method: str, path: str, query: str, version: str, lines: list[str]) -> bytes:
    kept = [line for line in lines if not line.lower().startswith(("proxy-", "connection:"))]
    target = f"{path or '/'}{'?' + query if query else ''}"
    return "\r\n".join([f"{method} {target} {version}", *kept, "Connection: close", "", ""]).encode(
        "latin-1"
    )


def _read_head(client: socket.socket) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head:
        data = client.recv(CHUNK)
        if not data:
            raise ValueError("no request")
        head += data
    return head.partition(b"\r\n\r\n")[0]


def _pump(source: socket.socket, target: socket.socket) -> None:
    """Pass bytes on until the source ends, and end the target's other side."""
    with suppress(OSError):
        while data := source.recv(CHUNK):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
