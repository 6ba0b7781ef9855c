"""A host that does not answer: connections to it time out."""

from __future__ import annotations

import socket

from tests.support.closing import Closing

HOST = "127.0.0.1"
#: A listener without backlog holds one connection; what comes after it is not even refused.
CROWD = 3


class DeadHost(Closing):
    """An address whose queue of connections is full, and stays so.

    Attributes:
        port: on 127.0.0.1.
    """

    def __init__(self) -> None:
        self._listener = socket.socket()
        self._listener.bind((HOST, 0))
        self._listener.listen(0)
        self.port: int = self._listener.getsockname()[1]
        self._waiting = [self._connect() for _ in range(CROWD)]

    def url(self, path: str) -> str:
        """The address of a path such as "/file.bin"."""
        return f"http://{HOST}:{self.port}{path}"

    def close(self) -> None:
        """Refuse from now on."""
        for one in (self._listener, *self._waiting):
            one.close()

    def _connect(self) -> socket.socket:
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex((HOST, self.port))
        return client
