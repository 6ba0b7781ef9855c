"""An FTP server on loopback: a folder, anonymous access and one user; it can continue a transfer."""

from __future__ import annotations

import threading
import warnings
from pathlib import Path
from typing import Any

from tests.support.closing import Closing

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # asyncore, until pyftpdlib leaves it
    from pyftpdlib.authorizers import DummyAuthorizer
    from pyftpdlib.handlers import DTPHandler, FTPHandler
    from pyftpdlib.ioloop import IOLoop
    from pyftpdlib.servers import FTPServer

HOST = "127.0.0.1"
USER, PASSWORD = "ada", "l0velace"
TICK = 0.05  # seconds between two looks at the end


class Ftp(Closing):
    """Serves `root`. Listens once made.

    Attributes:
        port: where it listens.
        root: the folder served, to everybody and to `USER`.
        commands: what clients have asked for, in order, as "RETR /a.bin"; passwords are left out.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.commands: list[str] = []
        self._closing = threading.Event()
        self._cut_after: int | None = None
        self._refused: set[str] = set()
        authorizer = DummyAuthorizer()
        authorizer.add_anonymous(str(root))
        authorizer.add_user(USER, PASSWORD, str(root))
        self._server = FTPServer((HOST, 0), self._handler(authorizer), ioloop=IOLoop())
        self.port: int = self._server.address[1]
        self._thread = threading.Thread(target=self._serve, name="ftp", daemon=True)
        self._thread.start()

    def url(self, path: str, *, login: str = "") -> str:
        """The address of a path such as "/file.bin"; `login` is "user:password"."""
        return f"ftp://{login + '@' if login else ''}{HOST}:{self.port}{path}"

    def cut_next_after(self, size: int) -> None:
        """Close the next data connection after about so many bytes, in the middle of its file."""
        self._cut_after = size

    def refuse(self, *commands: str) -> None:
        """Know these commands no more."""
        self._refused.update(commands)

    def close(self) -> None:
        """End every connection and the thread."""
        self._closing.set()
        self._thread.join(5)

    def _serve(self) -> None:
        while not self._closing.is_set():
            self._server.serve_forever(timeout=TICK, blocking=False, handle_exit=False)
        self._server.close_all()

    def _handler(self, authorizer: Any) -> type[Any]:
        server = self

        class Data(DTPHandler):  # type: ignore[misc]
            ac_out_buffer_size = 16 * 1024

            def send(self, data: bytes) -> int:
                limit = server._cut_after
                if limit is not None and self.tot_bytes_sent >= limit:
                    server._cut_after = None
                    self._resp = ("426 Transfer aborted.", None)
                    self.close()
                    return 0
                return int(super().send(data))

            def use_sendfile(self) -> bool:
                return False  # `send` is to see every byte

        class Handler(FTPHandler):  # type: ignore[misc]
            def pre_process_command(self, line: str, command: str, argument: str) -> None:
                shown = "" if command == "PASS" else argument
                server.commands.append(f"{command} {shown}".strip())
                if command in server._refused:
                    self.respond("502 Command not implemented.")
                    return
                super().pre_process_command(line, command, argument)

            def log(self, *_: object, **__: object) -> None:
                pass

            logline = logerror = log

        Handler.authorizer = authorizer
        Handler.dtp_handler = Data
        Handler.auth_failed_timeout = 0
        return Handler
