"""Runs the API on uvicorn: one process, or several that share the listening socket."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from api.app import create_app
from api.services import HttpLimits, Services
from worker.app import close_runtime, current_runtime

#: Connections that one process serves; further ones are answered with 503.
MAX_CONNECTIONS = 2_000
#: Seconds for requests that run when the process is stopped.
GRACE = 10


class Protocol(H11Protocol):
    """Closes connections whose request does not come: uvicorn waits for its headers without end."""

    header_seconds = HttpLimits().header_seconds
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Start the time for the first request."""
        super().connection_made(transport)
        self._start_deadline()

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


def application() -> FastAPI:
    """Return the application of this process, with the runtime of its settings."""
    return create_app(Services.of(current_runtime()))


def config(app: FastAPI | str, *, log_level: str, workers: int = 1) -> uvicorn.Config:
    """Return how uvicorn serves the application.

    Args:
        app: the application, or the name of what makes it, for several processes.
        log_level: of uvicorn's own lines.
        workers: processes.
    """
    return uvicorn.Config(
        app,
        factory=isinstance(app, str),
        workers=workers,
        http=Protocol,
        ws="none",
        lifespan="on",
        log_level=log_level.lower(),
        access_log=False,  # its lines would have the secrets of query strings
        server_header=False,
        proxy_headers=False,  # anyone can send X-Forwarded-For
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=GRACE,
    )


def serve(listener: socket.socket, *, log_level: str, processes: int) -> None:
    """Serve the API on a socket until SIGTERM or Ctrl-C."""
    if processes > 1:
        from uvicorn.supervisors import Multiprocess

        several = config("api.server:application", log_level=log_level, workers=processes)
        Multiprocess(several, sockets=[listener]).run()
        return
    try:
        uvicorn.Server(config(application(), log_level=log_level)).run(sockets=[listener])
    finally:
        close_runtime()
