"""A receiver of webhooks that keeps what it gets, and answers as a test says."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.support.closing import Closing

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Received:
    """One request; the names of `headers` are in lower case."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def content(self) -> Any:
        """The JSON of its body."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Answer:
    """A response. The body is sent in pieces for as long as the client reads them.

    Attributes:
        missing: bytes that are announced and not sent: the connection closes in the middle.
    """

    status: int = 204
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    times: int = 1
    missing: int = 0


class WebhookReceiver(Closing):
    """Listens once made.

    Attributes:
        received: the requests, in the order of their arrival.
        answer: of the next requests, or what returns one for each; it may wait.
    """

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.answer: Answer | Callable[[Received], Answer] = Answer()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver._serve(self)

            do_GET = do_POST  # noqa: N815 - a followed redirect would be seen

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer((HOST, 0), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), name="receiver", daemon=True
        )
        self._thread.start()

    def url(self, path: str = "/hook") -> str:
        """The address of a path."""
        return f"http://{HOST}:{self.port}{path}"

    @property
    def events(self) -> list[tuple[str, str]]:
        """What has arrived: the ids of jobs, and the types."""
        contents = [one.content for one in self.received]
        return [(content["data"]["id"], content["type"]) for content in contents]

    def close(self) -> None:
        """Stop; requests that wait are left to their threads."""
        self._server.shutdown()
        self._server.socket.close()
        self._thread.join(5)

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        length = int(handler.headers.get("content-length", 0))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        received = Received(handler.path, headers, handler.rfile.read(length))
        self.received.append(received)
        answer = self.answer(received) if callable(self.answer) else self.answer
        try:
            handler.send_response(answer.status)
            for name, value in answer.headers.items():
                handler.send_header(name, value)
            length = len(answer.body) * answer.times + answer.missing
            handler.send_header("content-length", str(length))
            handler.end_headers()
            for _ in range(answer.times):
                handler.wfile.write(answer.body)
        except OSError:
            pass  # the client has left
