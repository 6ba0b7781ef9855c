"""A service that answers with any bytes, or with none: what the client has to bear."""

from __future__ import annotations

import json
import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.support.closing import Closing


@dataclass(frozen=True)
class Received:
    """A request as it came; the names of headers are in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    number: int
    """1 for the first one of this service."""


@dataclass(frozen=True)
class Reset:
    """Send these bytes, then reset the connection."""

    sent: bytes = b""


@dataclass(frozen=True)
class Hang:
    """Send these bytes, and nothing more until the service is closed."""

    sent: bytes = b""


#: Bytes are sent, then the connection is closed; several, one after the other.
Reaction = bytes | Reset | Hang | Iterable[bytes]


class ScriptedService(Closing):
    """Listens once made.

    Args:
        react: returns what is sent for a request; each connection has one.

    Attributes:
        requests: all that came.
    """

    def __init__(self, react: Callable[[Received], Reaction]) -> None:
        self.requests: list[Received] = []
        self.react = react
        self._closing = threading.Event()
        self._lock = threading.Lock()
        service = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                service._serve(self)

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = False
            request_queue_size = 64

            def handle_error(self, request: object, client_address: object) -> None:
                """A client that has gone is no error here."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="scripted-service"
        )
        self._thread.start()

    def close(self) -> None:
        """Stop and join the threads."""
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(30)

    def _serve(self, handler: socketserver.StreamRequestHandler) -> None:
        line = handler.rfile.readline(65536).decode("latin-1")
        if not line.strip():
            return
        method, target, _ = line.split(" ", 2)
        headers = {}
        while (head := handler.rfile.readline(65536).decode("latin-1").strip()) != "":
            name, _, value = head.partition(":")
            headers[name.lower()] = value.strip()
        body = handler.rfile.read(int(headers.get("content-length", "0")))
        with self._lock:
            received = Received(method, target, headers, body, len(self.requests) + 1)
            self.requests.append(received)
        self._send(handler, self.react(received))

    def _send(self, handler: socketserver.StreamRequestHandler, reaction: Reaction) -> None:
        if isinstance(reaction, Reset):
            handler.wfile.write(reaction.sent)
            linger = struct.pack("ii", 1, 0)
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            handler.connection.close()
        elif isinstance(reaction, Hang):
            handler.wfile.write(reaction.sent)
            self._closing.wait(120)
        elif isinstance(reaction, bytes):
            handler.wfile.write(reaction)
        else:
            for chunk in reaction:
                handler.wfile.write(chunk)


@dataclass(frozen=True)
class Reply:
    """A response of HTTP; `bytes(reply)` is what is sent."""

    body: bytes = b""
    status: int = 200
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)

    def __bytes__(self) -> bytes:
        lines = {
            "Content-Type": self.content_type,
            "Content-Length": str(len(self.body)),
            "Connection": "close",
            **self.headers,
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value)
        return f"HTTP/1.1 {self.status} Reason\r\n{head}\r\n".encode() + self.body


def json_reply(content: Any, status: int = 200, **headers: str) -> bytes:
    """Return a response with JSON; `_` in the names of headers is `-`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return bytes(Reply(json.dumps(content).encode(), status, headers=named))


def problem_reply(status: int, code: str = "some_code", **headers: str) -> bytes:
    """Return a response with problem details."""
    content = {
        "type": f"urn:seen:problem:{code}",
        "title": "Title",
        "status": status,
        "detail": "What has happened.",
        "code": code,
        "instance": "/v1/x",
    }
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return bytes(Reply(json.dumps(content).encode(), status, "application/problem+json", named))
