"""Python's own http.server: it knows no ranges and no entity tags."""

from __future__ import annotations

import functools
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.support.closing import Closing

HOST = "127.0.0.1"


class _Handler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        pass


class PlainServer(Closing):
    """Serves a folder. Listens once made."""

    def __init__(self, root: Path) -> None:
        handler = functools.partial(_Handler, directory=str(root))
        self._server = ThreadingHTTPServer((HOST, 0), handler)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="plain-server", daemon=True
        )
        self._thread.start()

    def url(self, path: str) -> str:
        """The address of a path such as "/file.bin"."""
        return f"http://{HOST}:{self.port}{path}"

    def close(self) -> None:
        """Stop and join the threads."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)
