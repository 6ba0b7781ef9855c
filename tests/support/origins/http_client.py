"""A small HTTP client for tests of servers: it keeps what arrived before a failure."""

from __future__ import annotations

import http.client
import socket
from contextlib import closing
from dataclasses import dataclass
from email.message import Message

Fields = dict[str, str]


@dataclass
class Answer:
    """What a client got; `error` is how the body ended when it did not end well."""

    status: int
    headers: Message
    body: bytes
    error: type[Exception] | None = None


def connect(port: int) -> closing[http.client.HTTPConnection]:
    """A connection to 127.0.0.1, to be used in a `with`."""
    return closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10))


def read_answer(client: http.client.HTTPConnection) -> Answer:
    """Read an answer, keeping what arrived before a failure."""
    body, error = bytearray(), None
    with client.getresponse() as response:
        try:
            while piece := response.read1(65536):
                body += piece
        except (OSError, http.client.HTTPException) as raised:
            error = type(raised)
    return Answer(response.status, response.headers, bytes(body), error)


def fetch(port: int, path: str, method: str = "GET", headers: Fields | None = None) -> Answer:
    """One request on a connection of its own."""
    with connect(port) as client:
        client.request(method, path, headers=headers or {})
        return read_answer(client)


def listens(port: int) -> bool:
    """Whether a server accepts connections on this port of 127.0.0.1."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
