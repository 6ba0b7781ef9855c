"""Bodies of requests: read before the route runs, up to a size and within a time."""

from __future__ import annotations

import asyncio

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import problem
from api.services import HttpLimits

_JSON = "application/json"


class BodyLimit:
    """Reads bodies within limits, so that neither their size nor their slowness ties up a route."""

    def __init__(self, app: ASGIApp, limits: HttpLimits) -> None:
        self._app, self._limits = app, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with a problem, or give the route the whole body."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                body = await self._read(Headers(scope=scope), receive)
        except _TooLarge:
            detail = f"A body has at most {self._limits.body_bytes:,} bytes."
            await problem(413, "body_too_large", detail, scope["path"], headers=_CLOSE)(
                scope, receive, send
            )
            return
        except TimeoutError:
            detail = f"The body was not complete within {self._limits.body_seconds:g} s."
            await problem(408, "slow_body", detail, scope["path"], headers=_CLOSE)(
                scope, receive, send
            )
            return
        if body is None:
            return
        if body and not _is_json(Headers(scope=scope)):
            detail = f"A body is sent as Content-Type: {_JSON}."
            await problem(415, "unsupported_media_type", detail, scope["path"])(
                scope, receive, send
            )
            return
        await self._app(scope, _replay(body, receive), send)

    async def _read(self, headers: Headers, receive: Receive) -> bytes | None:
        """Return the body; None if the client has gone."""
        announced = headers.get("content-length", "")
        if announced.isdigit() and int(announced[:20]) > self._limits.body_bytes:
            raise _TooLarge
        parts: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self._limits.body_bytes:
                raise _TooLarge
            if not message.get("more_body", False):
                return b"".join(parts)


class _TooLarge(Exception):  # noqa: N818 - turned into a problem at once
    """The body is larger than allowed."""


#: What follows of such a request is not read.
_CLOSE = {"Connection": "close"}


def _is_json(headers: Headers) -> bool:
    return headers.get("content-type", "").partition(";")[0].strip().lower() == _JSON


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives the body, then what the connection gives."""
    is_given = False

    async def next_message() -> Message:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return next_message
