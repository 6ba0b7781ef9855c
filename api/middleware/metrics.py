"""Counts requests by the template of their route, and measures the time until they are answered."""

from __future__ import annotations

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from worker.metrics.catalog import HTTP_DURATION, HTTP_IN_FLIGHT, HTTP_REQUESTS
from worker.metrics.instruments import Instruments

#: Anything may be sent as a method.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
#: What is sent in place of other methods, and of paths that no route has.
_OTHER = "other"


def shown_method(scope: Scope) -> str:
    """Return the method of a request as metrics and names of spans have it: one of a few."""
    method: str = scope["method"]
    return method if method in _METHODS else _OTHER


class RequestMetrics:
    """Counts every request, also those that are refused."""

    def __init__(self, app: ASGIApp, instruments: Instruments) -> None:
        self._app, self._instruments = app, instruments
        self._in_flight = 0
        instruments.set_gauge(HTTP_IN_FLIGHT, read=lambda: self._in_flight)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, is_answered = time.monotonic(), False

        async def counting_send(message: Message) -> None:
            nonlocal is_answered
            if message["type"] == "http.response.start" and not is_answered:
                is_answered = True
                self._count(scope, int(message["status"]), time.monotonic() - began)
            await send(message)

        self._in_flight += 1
        try:
            await self._app(scope, receive, counting_send)
        except Exception:
            if not is_answered:  # an outer layer answers
                self._count(scope, 500, time.monotonic() - began)
            raise
        finally:
            self._in_flight -= 1

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path_format", _OTHER)
        method = shown_method(scope)
        self._instruments.count(HTTP_REQUESTS, route, method, f"{status // 100}xx")
        self._instruments.observe(HTTP_DURATION, seconds, route, method)
