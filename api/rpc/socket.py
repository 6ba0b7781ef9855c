"""`/jsonrpc` over WebSocket: calls and their answers, and notifications in between."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, ClassVar

from fastapi import APIRouter, WebSocket
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import QueryParams
from starlette.websockets import WebSocketDisconnect
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

from api.rpc.callers import Callers
from api.rpc.calls import answer_in_turn
from api.rpc.notifications import Notifier
from api.services import RPC_PATH, HttpLimits, Services
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
#: WebSockets of one user, and of one address: so many leave room for others. Users may share an address.
MOST_OF_USER, MOST_OF_ADDRESS = 100, 500
#: Tokens of one of them.
MOST_TOKENS = 10
#: Notifications that wait for a client which does not read; at the next one it is dropped.
MOST_WAITING = 1_000
#: A client whose calls have no valid token for this time is dropped. Seconds.
SILENCE = 60.0
#: A client that does not take a message within this time is dropped. Seconds.
UNREAD = 30.0
#: Whether tokens are still valid is asked so often. Seconds.
CHECK = 30.0

#: The bytes of a message and its frames are at most so many times those that a message may have.
_FRAMES = 3
#: Where a request's state has the query.
QUERY = "query_string"
#: Close codes of RFC 6455.
_REFUSED, _TOO_SLOW, _TRY_LATER = 1008, 1008, 1013


class SocketProtocol(WebSocketsSansIOProtocol):
    """Moves the query, in which tokens are, from where uvicorn logs it to the state of the request.

    What messages need until they are answered is bounded, for all sockets of the process together.
    """

    limits: ClassVar = HttpLimits()
    #: Bytes of all sockets.
    of_all: ClassVar[int] = 0

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.conn.debug = False  # it would log messages with tokens
        self._held = self._counted = 0
        self._deadline: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        """Take bytes of the client, if there is room for them."""
        self._hold(self._held + len(data))
        # A message may come in any number of frames, which need room, too.
        is_too_much = self._held > _FRAMES * self.limits.socket_bytes
        if is_too_much or SocketProtocol.of_all > self.limits.sockets_bytes:
            self.transport.abort()
            return
        super().data_received(data)
        if self.frames or self.conn.reader.buffer:
            self._start_deadline()
        elif self.queue.empty():
            self._hold(0)

    def handle_ping(self) -> None:
        """Answer a ping, unless the client reads nothing: all answers would be in memory."""
        if self.writable.is_set():
            super().handle_ping()
        else:
            self.conn.data_to_send()

    def send_receive_event_to_app(self) -> None:
        """Pass on a message that is complete."""
        self._end_deadline()
        super().send_receive_event_to_app()

    async def receive(self) -> Any:
        """Return the next message; those before it have been answered."""
        if self.queue.empty():
            self._hold(len(self.conn.reader.buffer) + sum(map(len, self.frames)))
        return await super().receive()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give back the room."""
        self._end_deadline()
        self._hold(0)
        super().connection_lost(exc)

    def _hold(self, size: int) -> None:
        self._held = size
        more = max(0, size - self.limits.small_body_bytes) - self._counted
        self._counted += more
        SocketProtocol.of_all += more

    def _start_deadline(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(self.limits.body_seconds, self._drop_slow)

    def _end_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _drop_slow(self) -> None:
        self._deadline = None
        if self.read_paused:  # the message before it is not answered yet
            self._start_deadline()
        else:
            self.transport.abort()

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
    connection = Connection(socket, notifier)
    of_address = sum(one.network == connection.network for one in notifier.sockets)
    if len(notifier.sockets) >= MOST or of_address >= MOST_OF_ADDRESS:
        await socket.close(_TRY_LATER)
        return
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
    """One WebSocket. It is sent what the tokens may see that its calls have had, or its address.

    Attributes:
        network: of its client.
    """

    def __init__(self, socket: WebSocket, notifier: SocketNotifier) -> None:
        self._socket, self._notifier = socket, notifier
        self._services: Services = socket.app.state.services
        self._address = socket.client.host if socket.client else None
        self.network = accounts.network_of(self._address)
        self._principals: dict[str, Principal] = {}
        self._has_called = False
        self._waiting: asyncio.Queue[str] = asyncio.Queue(MOST_WAITING)
        self._is_to_be_dropped = asyncio.Event()

    async def serve(self) -> None:
        """Answer calls and send notifications until the client leaves, or one of them ends."""
        loops = [
            self._answer_calls(),
            self._send_waiting(),
            self._check(),
            self._wait_for_reason_to_drop(),
            self._wait_for_silence(),
        ]
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
            self._is_to_be_dropped.set()

    def is_of(self, user_id: str | None) -> bool:
        """Return whether it has a token of a user."""
        return any(one.user_id == user_id for one in self._principals.values())

    # ── what runs as long as the connection ─────────────────────────────────────────────────────

    async def _answer_calls(self) -> None:
        await self._use_token_of_address()
        while True:
            message = await self._socket.receive()
            if message["type"] != "websocket.receive":
                return
            content = message.get("text") or message.get("bytes") or ""
            callers = Callers(self._services, self._address)
            answered = await answer_in_turn(content, callers)
            await self._remember(callers.found)
            await self._send(answered.content.decode())

    async def _send_waiting(self) -> None:
        while True:
            await self._send(await self._waiting.get())

    async def _wait_for_reason_to_drop(self) -> None:
        await self._is_to_be_dropped.wait()

    async def _wait_for_silence(self) -> None:
        """Return when there was no valid token for `SILENCE`; calls without one do not count."""
        while True:
            self._has_called = False
            await asyncio.sleep(SILENCE)
            if not (self._principals or self._has_called):
                return

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
        self._has_called = self._has_called or bool(found)
        for secret, principal in found.items():
            has_room = len(self._principals) < MOST_TOKENS or secret in self._principals
            if has_room and Scope.READ in principal.scopes:
                if secret not in self._principals:
                    self._count(principal)
                self._principals[secret] = principal
        if self._principals:
            await self._notifier.add(self)

    def _count(self, principal: Principal) -> None:
        """Drop this connection, if its user has as many others as may be."""
        others = sum(one.is_of(principal.user_id) for one in self._notifier.sockets - {self})
        if others >= MOST_OF_USER:
            self._is_to_be_dropped.set()

    async def _send(self, text: str) -> None:
        async with asyncio.timeout(UNREAD):
            await self._socket.send_text(text)


#: The client has left, or takes nothing.
_Gone = (WebSocketDisconnect, TimeoutError, RuntimeError)
