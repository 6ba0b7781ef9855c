"""One record for each request, where the log is JSON: method, path, status, time, client, user."""

from __future__ import annotations

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from domain.urls import display_url

logger = logging.getLogger(__name__)


class AccessLog:
    """Logs requests when their response has ended. It is the outermost part, so it sees refusals, too.

    The query is left out, and parts of the path that look like secrets are masked.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request, then log it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, since = 0, time.monotonic()

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        finally:
            _log(scope, status, time.monotonic() - since)


def _log(scope: Scope, status: int, seconds: float) -> None:
    client = scope.get("client")
    fields = {
        "seconds": seconds,
        "client": client[0] if client else None,
        "user": scope.get("state", {}).get("user"),
    }
    log = logger.warning if status >= 500 or not status else logger.info
    log("%s %s -> %d", scope["method"], display_url(scope["path"]), status, extra=fields)
