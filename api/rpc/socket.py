"""`/jsonrpc` over WebSocket: calls and their answers, and notifications in between."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from fastapi import APIRouter, WebSocket
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import QueryParams
from starlette.websockets import WebSocketDisconnect
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

from api.rpc.callers import Callers
from api.rpc.calls import answer
from api.rpc.notifications import Notifier
from api.services import RPC_PATH, Services
from domain.access import Principal, Scope, visible_user
from domain.errors import (
    AuthenticationError,
    DatabaseUnavailableError,
    RateLimitedError,
    SeenError,
    StoreError,
)
from tasks.api import accounts

router = APIRouter()

#: WebSockets that one process serves.
MOST = 1_000
#: Tokens of one of them.
MOST_TOKENS = 10
#: Notifications that wait for a client which does not read; at the next one it is dropped.
MOST_WAITING = 1_000
#: Without a valid token a client is dropped after this time. Seconds.
SILENCE = 60.0
#: A client that does not take a message within this time is dropped. Seconds.
UNREAD = 30.0
#: Whether tokens are still valid is asked so often. Seconds.
CHECK = 30.0

#: Where a request's state has the query.
QUERY = "query_string"
#: Close codes of RFC 6455.
_REFUSED, _TOO_SLOW, _TRY_LATER = 1008, 1008, 1013


class SocketProtocol(WebSocketsSansIOProtocol):
    """Moves the query, in which tokens are, from where uvicorn logs it to the state of the request."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.conn.debug = False  # it would log messages with tokens

    def handle_connect(self, event: Request) -> None:
        """Begin to serve a WebSocket."""
        super().handle_connect(event)
        if not self.close_sent:  # else the request was refused
            self.scope["state"][QUERY] = self.scope["query_string"]
            self.scope["query_string"] = b""


@router.websocket(RPC_PATH)
async def converse(socket: WebSocket) -> None:
    """Serve one client until it leaves, or is dropped."""
    notifier = _notifier(socket)
    if len(notifier.sockets) >= MOST:
        await socket.close(_TRY_LATER)
        return
    connection = Connection(socket, notifier)
    notifier.sockets.add(connection)
    try:
        await socket.accept()
        await connection.serve()
    finally:
        notifier.sockets.discard(connection)
        notifier.remove(connection)


class SocketNotifier(Notifier):
    """The notifier of a process, and its sockets."""

    sockets: set[Connection]


def _notifier(socket: WebSocket) -> SocketNotifier:
    """Return the notifier of this process; it is made for the first socket."""
    state = socket.app.state
    if getattr(state, "rpc_notifier", None) is None:
        state.rpc_notifier = SocketNotifier(socket.state.hub)
        state.rpc_notifier.sockets = set()
    found: SocketNotifier = state.rpc_notifier
    return found


class Connection:
    """One WebSocket. It is sent what the tokens may see that its calls have had, or its address."""

    def __init__(self, socket: WebSocket, notifier: Notifier) -> None:
        self._socket, self._notifier = socket, notifier
        self._services: Services = socket.app.state.services
        self._address = socket.client.host if socket.client else None
        self._principals: dict[str, Principal] = {}
        self._waiting: asyncio.Queue[str] = asyncio.Queue(MOST_WAITING)
        self._has_fallen_behind = asyncio.Event()

    async def serve(self) -> None:
        """Answer calls and send notifications until the client leaves, or one of them ends."""
        loops = [self._answer_calls(), self._send_waiting(), self._check(), self._fall_behind()]
        tasks = [asyncio.ensure_future(one) for one in loops]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception) and not isinstance(result, _Gone):
                raise result
        with suppress(*_Gone, TimeoutError):
            async with asyncio.timeout(UNREAD):
                await self._socket.close(_REFUSED)

    def offer(self, user_id: str | None, message: str) -> None:
        """Send a notification about a job of a user, if one of the tokens may see it."""
        seen = (visible_user(one) for one in self._principals.values())
        if not any(one is None or one == user_id for one in seen):
            return
        try:
            self._waiting.put_nowait(message)
        except asyncio.QueueFull:
            self._has_fallen_behind.set()

    # ── what runs as long as the connection ─────────────────────────────────────────────────────

    async def _answer_calls(self) -> None:
        await self._use_token_of_address()
        while True:
            async with asyncio.timeout(None if self._principals else SILENCE):
                message = await self._socket.receive()
            if message["type"] != "websocket.receive":
                return
            content = message.get("text") or message.get("bytes") or ""
            callers = Callers(self._services, self._address)
            answered = await run_in_threadpool(answer, content, callers)
            await self._remember(callers.found)
            await self._send(answered.content.decode())

    async def _send_waiting(self) -> None:
        while True:
            await self._send(await self._waiting.get())

    async def _fall_behind(self) -> None:
        await self._has_fallen_behind.wait()

    async def _check(self) -> None:
        """Forget tokens that are no longer valid, or whose users have other rights now."""
        while True:
            await asyncio.sleep(CHECK)
            for secret, known in list(self._principals.items()):
                if not await run_in_threadpool(self._is_still, secret, known):
                    self._principals.pop(secret, None)

    def _is_still(self, secret: str, known: Principal) -> bool:
        runtime = self._services.runtime
        try:
            now = accounts.authenticate(secret, address=self._address, runtime=runtime)
        except (DatabaseUnavailableError, StoreError):
            return True  # that is not known now
        except (AuthenticationError, RateLimitedError):
            return False
        return (now.role, now.scopes) == (known.role, known.scopes)

    # ── tokens ──────────────────────────────────────────────────────────────────────────────────

    async def _use_token_of_address(self) -> None:
        """Use `?token=` of the address, for clients that only listen."""
        query = QueryParams(getattr(self._socket.state, QUERY))
        secret = query.get("token")
        if secret:
            with suppress(SeenError):
                await self._remember({secret: await run_in_threadpool(self._principal, secret)})

    def _principal(self, secret: str) -> Principal:
        runtime = self._services.runtime
        principal = accounts.authenticate(secret, address=self._address, runtime=runtime)
        accounts.limit_requests(principal, runtime=runtime)
        return principal

    async def _remember(self, found: dict[str, Principal]) -> None:
        """Send what these principals may see, from the next answer on."""
        for secret, principal in found.items():
            has_room = len(self._principals) < MOST_TOKENS or secret in self._principals
            if has_room and Scope.READ in principal.scopes:
                self._principals[secret] = principal
        if self._principals:
            await self._notifier.add(self)

    async def _send(self, text: str) -> None:
        async with asyncio.timeout(UNREAD):
            await self._socket.send_text(text)


#: The client has left, or takes nothing.
_Gone = (WebSocketDisconnect, TimeoutError, RuntimeError)
