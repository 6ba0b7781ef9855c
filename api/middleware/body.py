"""Bodies of requests: read before the route runs, within a time, up to a size, and up to one for all."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import problem
from api.services import RPC_PATH, HttpLimits
from tasks.api.accounts import network_of

_JSON = "application/json"
#: Of a request whose body is refused so much is still received. Seconds.
_DISCARD_SECONDS = 5.0
#: What follows of such a request is not read.
_CLOSE = {"Connection": "close"}
_LATER = {"Retry-After": "2"}


class BodyLimit:
    """Reads bodies within limits, so that neither their size nor their slowness ties up a route.

    A body counts until its request has been answered: so long it is in memory. It counts as it comes, so
    that announcing one takes no room.
    """

    def __init__(self, app: ASGIApp, limits: HttpLimits) -> None:
        self._app, self._limits = app, limits
        self._room = limits.bodies_bytes
        self._by_network: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with a problem, or give the route the whole body."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        client = scope.get("client")
        body = _Body(network_of(client[0] if client else None))
        try:
            await self._serve(body, scope, receive, send)
        finally:
            self._room += body.counted
            self._by_network -= Counter({body.network: body.counted})

    async def _serve(self, body: _Body, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                await self._read(body, headers, receive)
        except (_TooLarge, _NoRoom) as reason:
            refusal = self._refusal(scope, reason)
            # A client that expects to be asked for its body sends nothing before.
            if not body.is_complete and "expect" not in headers:
                await self._discard(receive)
        except TimeoutError as reason:
            refusal = self._refusal(scope, reason)
        else:
            if not body.is_complete:
                return
            # aria2 looks at no type, and its clients send any; a token in the body says who calls.
            if not body.size or scope["path"] == RPC_PATH or _is_json(headers):
                await self._app(scope, body.replay(receive), send)
                return
            detail = f"A body is sent as Content-Type: {_JSON}."
            refusal = problem(415, "unsupported_media_type", detail, scope["path"])
        await refusal(scope, receive, send)

    def _refusal(self, scope: Scope, reason: Exception) -> Response:
        """Return the answer to a request whose body is not read to its end."""
        limits, path = self._limits, scope["path"]
        if isinstance(reason, _TooLarge):
            detail = f"A body has at most {limits.body_bytes:,} bytes."
            return problem(413, "body_too_large", detail, path, headers=_CLOSE)
        if isinstance(reason, _NoRoom):
            detail = "The service has no room for more bodies of requests. Repeat this one later."
            return problem(503, "busy", detail, path, headers={**_CLOSE, **_LATER})
        detail = f"The body was not complete within {limits.body_seconds:g} s."
        return problem(408, "slow_body", detail, path, headers=_CLOSE)

    async def _discard(self, receive: Receive) -> None:
        """Receive what is still sent, within limits: a client that is sending reads no answer."""
        left = self._limits.body_bytes
        with suppress(TimeoutError):
            async with asyncio.timeout(min(_DISCARD_SECONDS, self._limits.body_seconds)):
                while left > 0:
                    message = await receive()
                    if message["type"] == "http.disconnect" or not message.get("more_body", False):
                        return
                    left -= len(message["body"])

    async def _read(self, body: _Body, headers: Headers, receive: Receive) -> None:
        """Read the body until it is complete, or the client has gone."""
        announced = headers.get("content-length", "")
        if announced.isdigit() and int(announced[:20]) > self._limits.body_bytes:
            raise _TooLarge
        while not body.is_complete:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body.add(message)
            if body.size > self._limits.body_bytes:
                raise _TooLarge
            self._count(body)

    def _count(self, body: _Body) -> None:
        """Take the room that a body needs and does not have yet."""
        if body.size <= self._limits.small_body_bytes:
            return
        more = body.size - body.counted
        # One client that sends slowly leaves half of the room to others.
        of_network = self._by_network[body.network] + more
        if more > self._room or of_network > self._limits.bodies_bytes // 2:
            raise _NoRoom
        self._room -= more
        self._by_network[body.network] += more
        body.counted += more


class _Body:
    """What has come of a body.

    Args:
        network: where it comes from.

    Attributes:
        network: the same.
        size: in bytes.
        is_complete: nothing follows.
        counted: bytes for which it has room of the budget for all.
    """

    def __init__(self, network: str) -> None:
        self.network = network
        self._parts: list[bytes] = []
        self.size = self.counted = 0
        self.is_complete = False

    def add(self, message: Message) -> None:
        """Keep a further part."""
        self._parts.append(message.get("body", b""))
        self.size += len(self._parts[-1])
        self.is_complete = not message.get("more_body", False)

    def replay(self, receive: Receive) -> Receive:
        """Return a `receive` that gives the body, then what the connection gives."""
        is_given = False

        async def next_message() -> Message:
            nonlocal is_given
            if is_given:
                return await receive()
            is_given = True
            body, self._parts = b"".join(self._parts), []
            return {"type": "http.request", "body": body, "more_body": False}

        return next_message


class _TooLarge(Exception):  # noqa: N818 - turned into a problem at once
    """The body is larger than allowed."""


class _NoRoom(Exception):  # noqa: N818 - turned into a problem at once
    """All bodies together would be larger than allowed."""


def _is_json(headers: Headers) -> bool:
    return headers.get("content-type", "").partition(";")[0].strip().lower() == _JSON
