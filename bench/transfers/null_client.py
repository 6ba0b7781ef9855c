"""A client that discards what it receives: the fastest that the origin can send on this machine."""

from __future__ import annotations

import select
import socket
import time
from urllib.parse import urlsplit


def fetch_and_discard(url: str, connections: int) -> float:
    """Fetch `url` over so many connections at once; return the seconds until the last one ended."""
    parts = urlsplit(url)
    request = f"GET {parts.path} HTTP/1.0\r\n\r\n".encode()
    buffer = bytearray(1 << 20)
    clients: dict[int, socket.socket] = {}
    started = time.perf_counter()
    with select.epoll() as events:
        for _ in range(connections):
            client = socket.create_connection((parts.hostname or "", parts.port or 80))
            client.sendall(request)
            clients[client.fileno()] = client
            events.register(client, select.EPOLLIN)
        while clients:
            for number, _ in events.poll():
                if not clients[number].recv_into(buffer):
                    events.unregister(number)
                    clients.pop(number).close()
    return time.perf_counter() - started
