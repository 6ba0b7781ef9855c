"""Bodies of requests: read within a time, up to a size, and up to one for all."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import problems
from api.services import RPC_PATH, HttpLimits
from tasks.api.accounts import network_of

_JSON = "application/json"
#: Of a request whose body is refused so much is still received. Seconds.
_DISCARD_SECONDS = 5.0
#: What follows of such a request is not read.
_CLOSE = {"Connection": "close"}
_LATER = {"Retry-After": "2"}


class BodyRefusedError(HTTPException):
    """A body is not read to its end; the application's handler of HTTP errors answers."""


class BodyLimit:
    """Reads bodies within limits, so that neither their size nor their slowness ties up a route.

    A body is read when a route asks for it, which is after the sign-in (`api.authentication`); all of it
    then. It counts until its request has been answered: so long it is in memory. It counts as it comes,
    so that announcing one takes no room.
    """

    def __init__(self, app: ASGIApp, limits: HttpLimits) -> None:
        self._app, self._limits = app, limits
        self._room = limits.bodies_bytes
        self._by_network: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Give the route its body, or the error that refuses it, when it asks for that."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        client = scope.get("client")
        body = _Body(network_of(client[0] if client else None))

        async def receive_whole() -> Message:
            if not body.is_given:
                await self._read_checked(body, scope, receive)
                return body.give()
            return await receive()

        try:
            await self._app(scope, receive_whole, send)
        except BodyRefusedError as error:  # of an application that handles no errors of HTTP
            refusal = problems.on_http_error(Request(scope), error)
            await refusal(scope, receive, send)
        finally:
            self._room += body.counted
            self._by_network -= Counter({body.network: body.counted})

    async def _read_checked(self, body: _Body, scope: Scope, receive: Receive) -> None:
        """Read a body; raise BodyRefusedError for one that is too large, too slow, or no JSON."""
        headers = Headers(scope=scope)
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                await self._read(body, headers, receive)
        except (_TooLarge, _NoRoom) as reason:
            # A client that expects to be asked for its body sends nothing before.
            if not body.is_complete and "expect" not in headers:
                await self._discard(receive)
            raise self._refusal(reason) from None
        except TimeoutError as reason:
            raise self._refusal(reason) from None
        # aria2 looks at no type, and its clients send any; a token in the body says who calls.
        if body.size and scope["path"] != RPC_PATH and not _is_json(headers):
            raise BodyRefusedError(415, f"A body is sent as Content-Type: {_JSON}.")

    def _refusal(self, reason: Exception) -> BodyRefusedError:
        """Return the error for a body that is not read to its end."""
        limits = self._limits
        if isinstance(reason, _TooLarge):
            detail = f"A body has at most {limits.body_bytes:,} bytes."
            return BodyRefusedError(413, detail, headers=_CLOSE)
        if isinstance(reason, _NoRoom):
            detail = "The service has no room for more bodies of requests. Repeat this one later."
            return BodyRefusedError(503, detail, headers={**_CLOSE, **_LATER})
        detail = f"The body was not complete within {limits.body_seconds:g} s."
        return BodyRefusedError(408, detail, headers=_CLOSE)

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
        """Read the body until it is complete."""
        announced = headers.get("content-length", "")
        if announced.isdigit() and int(announced[:20]) > self._limits.body_bytes:
            raise _TooLarge
        while not body.is_complete:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise BodyRefusedError(400, "The client has gone.", headers=_CLOSE)
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
        is_given: the application has it.
        counted: bytes for which it has room of the budget for all.
    """

    def __init__(self, network: str) -> None:
        self.network = network
        self._parts: list[bytes] = []
        self.size = self.counted = 0
        self.is_complete = self.is_given = False

    def add(self, message: Message) -> None:
        """Keep a further part."""
        self._parts.append(message.get("body", b""))
        self.size += len(self._parts[-1])
        self.is_complete = not message.get("more_body", False)

    def give(self) -> Message:
        """Return the whole body as one message, and forget it."""
        body, self._parts = b"".join(self._parts), []
        self.is_given = True
        return {"type": "http.request", "body": body, "more_body": False}


class _TooLarge(Exception):  # noqa: N818 - turned into a problem at once
    """The body is larger than allowed."""


class _NoRoom(Exception):  # noqa: N818 - turned into a problem at once
    """All bodies together would be larger than allowed."""


def _is_json(headers: Headers) -> bool:
    return headers.get("content-type", "").partition(";")[0].strip().lower() == _JSON
