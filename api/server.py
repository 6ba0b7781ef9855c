"""Runs the API on uvicorn, as ``python -m api.server``: one process, or several that share a socket."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from api.app import create_app
from api.services import HttpLimits, Services
from domain.errors import SeenError, SettingsError
from seen_local.late_settings import settings_module
from worker import utf8_mode
from worker.app import close_runtime, current_runtime
from worker.logs import setup as log_setup
from worker.process import listening, standard_streams, stop_signals

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

#: Connections that one process serves; further ones are answered with 503.
MAX_CONNECTIONS = 2_000
#: Seconds for which sent bytes may stay unread at the other end.
UNREAD_SECONDS = 60
#: Seconds for requests that run when the process is stopped.
GRACE = 10
#: Seconds without an answer after which one of several processes is replaced; its start takes some.
CHILD_TIMEOUT = 60
_LINE = "[%(asctime)s: %(levelname)s] %(name)s: %(message)s"


class Protocol(H11Protocol):
    """Closes connections whose request does not come: uvicorn waits for its headers without end."""

    header_seconds = HttpLimits().header_seconds
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Start the time for the first request."""
        super().connection_made(transport)
        # The system ends a connection whose other end reads nothing for so long.
        opened = transport.get_extra_info("socket")
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * UNREAD_SECONDS)
        self._start_deadline()

    def shutdown(self) -> None:
        """End the streams of events, too: each of them would run until `GRACE` is over."""
        self.app_state["hub"].close()
        super().shutdown()

    def data_received(self, data: bytes) -> None:
        """End the time when the headers are complete."""
        super().data_received(data)
        if self._is_serving():
            self._end_deadline()

    def on_response_complete(self) -> None:
        """Start the time for the next request."""
        super().on_response_complete()
        if not self._is_serving():  # else the next request was sent with this one
            self._start_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the time."""
        self._end_deadline()
        super().connection_lost(exc)

    def handle_websocket_upgrade(self, event: Any) -> None:
        """End the time: the connection is a WebSocket's from here on."""
        self._end_deadline()
        super().handle_websocket_upgrade(event)

    def _is_serving(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    def _start_deadline(self) -> None:
        self._end_deadline()
        self._deadline = self.loop.call_later(self.header_seconds, self._close_slow)

    def _end_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _close_slow(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()


class Server(uvicorn.Server):
    """Stops at this project's signals: at more than uvicorn's, and at none that was ignored before."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle the signals while the server runs; a second one ends requests that still run."""
        if threading.current_thread() is threading.main_thread():
            stop_signals.handle(self.handle_exit)
        yield


def application() -> FastAPI:
    """Return the application of this process, with the runtime of its settings."""
    _set_up_log()
    _end_with_parent()
    return create_app(Services.of(current_runtime()))


def _set_up_log() -> None:
    level = settings_module.load().log_level
    if log_setup.start("api"):
        logging.getLogger().setLevel(level)
    else:
        log_setup.use_line_records()
        logging.basicConfig(level=level, format=_LINE)


def _end_with_parent() -> None:
    """Stop this process when the one that started it was killed: its port would stay in use."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait = partial(_stop_after, parent)
        threading.Thread(target=wait, name="parent", daemon=True).start()


def _stop_after(parent: BaseProcess) -> None:
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


def config(app: FastAPI | str, *, workers: int = 1) -> uvicorn.Config:
    """Return how uvicorn serves the application.

    Args:
        app: the application, or the name of what makes it, for several processes.
        workers: processes.
    """
    return uvicorn.Config(
        app,
        factory=isinstance(app, str),
        workers=workers,
        http=Protocol,
        ws="api.rpc.socket:SocketProtocol" if _has_sockets(app) else "none",
        ws_max_size=HttpLimits().socket_bytes,
        ws_per_message_deflate=False,  # a small message would become a large one
        lifespan="on",
        log_config=None,
        access_log=False,  # its lines would have the secrets of query strings
        server_header=False,
        proxy_headers=False,  # api/middleware/proxy.py checks who sends them
        timeout_worker_healthcheck=CHILD_TIMEOUT,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=GRACE,
    )


def _has_sockets(app: FastAPI | str) -> bool:
    """Return whether there are WebSockets: only aria2's JSON-RPC has them."""
    if isinstance(app, str):
        return settings_module.load().aria2_rpc
    services: Services = app.state.services
    return services.runtime.settings.aria2_rpc


def serve(listener: socket.socket, *, processes: int) -> None:
    """Serve the API on a socket until a signal stops this process."""
    if processes > 1:
        from uvicorn.supervisors import Multiprocess

        _set_up_log()
        several = config("api.server:application", workers=processes)
        Multiprocess(several, sockets=[listener]).run()
        return
    try:
        Server(config(application())).run(sockets=[listener])
    finally:
        close_runtime()


def main() -> int:
    """Run the program, and return its exit status; what is wrong at the start is one line."""
    try:
        log_setup.start("api")  # what is wrong at the start is a record, too
        settings = settings_module.load()
        listener = _listen(settings.api_address, settings.api_port)
        serve(listener, processes=settings.api_processes)
    except SeenError as error:
        sys.stderr.write(f"seen: {error}\n")
        return 2
    return 0


def _listen(address: str, port: int) -> socket.socket:
    try:
        return listening.listen(address, port)
    except OSError as error:
        raise SettingsError(listening.explain(address, port, error, server="API")) from None


if __name__ == "__main__":
    utf8_mode.ensure()
    standard_streams.prepare_service()
    sys.exit(main())
