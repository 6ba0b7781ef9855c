"""A program that takes Dragonfly's place in tests: Redis behind `tests.support.stores.dragonfly_rules`.

    python -m tests.support.stores.dragonfly_stand_in --server=/usr/bin/redis-server --bind 127.0.0.1 \
        --port 6379 --requirepass secret --dir /data [other flags of Dragonfly]

It ends as Dragonfly does: SIGTERM writes a snapshot first, the Redis behind it dies with it, and where
Dragonfly aborts it aborts. A snapshot (SAVE) holds the scripts, too, but not their flags.

One command is its own: ``REFUSE message commands exceptions in_scripts`` (see `StoreServer.refuse`);
with an empty message nothing is refused any more. It needs no password.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import signal
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hiredis
import redis

from tests.support.servers.process import Process, spawn, wait_ready
from tests.support.stores import dragonfly_rules as rules
from tests.support.stores import resp

#: After these, replies come without being asked for.
_STREAMS = {b"SUBSCRIBE", b"PSUBSCRIBE", b"SSUBSCRIBE", b"MONITOR", b"PSYNC", b"SYNC"}
_SCRIPTS_FILE = "dump-scripts.json"

#: What the next reply is for: a reply that is there already, or what makes the client's of Redis'.
_Awaited = bytes | Callable[[bytes], bytes]


class _StandIn:
    """The one server of this process."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.state = rules.Server(cache_mode=options.cache_mode)
        self.refusal: rules.Refusal | None = None
        self.socket = options.dir.parent / f"redis-{os.getpid()}.sock"
        self._log = options.dir.parent / "redis.log"
        self._numbers = itertools.count(1)

    def start_redis(self) -> None:
        """Start the server behind, with what the last snapshot holds."""
        flags = [
            *("--port", "0", "--unixsocket", str(self.socket), "--save", "", "--appendonly", "no"),
            # The stream to a replica begins with a length: the other form ends with a mark of its own.
            *("--repl-diskless-sync", "no"),
            *("--dir", str(self.options.dir), "--databases", str(self.options.dbnum)),
            *("--maxmemory", self.options.maxmemory, "--requirepass", self.options.requirepass),
        ]
        process: Process = spawn([self.options.server, *flags], log=self._log)
        with redis.Redis(
            unix_socket_path=str(self.socket), password=self.options.requirepass or None
        ) as client:
            wait_ready(process, self._log, lambda: _answers(client))
            for text in self.state.scripts.restore(self.options.dir / _SCRIPTS_FILE):
                client.script_load(text.decode("latin-1"))

    def number(self) -> int:
        """Return the number of a new connection."""
        return next(self._numbers)

    def save_scripts(self) -> None:
        """Write the part of a snapshot that is not Redis'."""
        self.state.scripts.save(self.options.dir / _SCRIPTS_FILE)

    def abort(self, error: rules.AbortedError) -> None:
        """End as Dragonfly does when one of its checks fails: exit status 134 to a shell."""
        sys.stderr.write(f"F main_service.cc:2435] {error}\n")
        os.abort()

    def end(self) -> None:
        """End as asked to: with a snapshot."""
        with redis.Redis(
            unix_socket_path=str(self.socket), password=self.options.requirepass or None
        ) as client:
            client.save()
        self.save_scripts()
        self.socket.unlink(missing_ok=True)
        os._exit(0)


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


class _Client(asyncio.Protocol):
    """One client: its commands to Redis, the replies back, in order."""

    transport: asyncio.Transport

    def __init__(self, server: _StandIn) -> None:
        self._server = server
        self._requests = resp.Requests()
        self._waiting: deque[_Awaited] = deque()
        self._is_stream = False
        self._early: list[bytes] = []
        self._connecting: asyncio.Task[None] | None = None
        self.redis: _Redis | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connect to Redis for this client alone."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        host, port = transport.get_extra_info("peername")[:2]
        number = self._server.number()
        self._connection = rules.Connection(number, f"{host}:{port}")
        self._server.state.connections[number] = self._connection
        self._connecting = asyncio.ensure_future(self._connect())

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, self.redis = await loop.create_unix_connection(
                lambda: _Redis(self), str(self._server.socket)
            )
        except OSError:
            self.transport.close()
            return
        early, self._early = self._early, []
        for data in early:
            self.data_received(data)

    def data_received(self, data: bytes) -> None:
        """Pass on what the client sends, or answer it."""
        if self.redis is None:
            self._early.append(data)
            return
        try:
            for request in self._requests.feed(data):
                self._received(request)
        except hiredis.ProtocolError as error:
            self.transport.write(resp.error(f"ERR Protocol error: {error}".encode()))
            self.transport.close()

    def _received(self, request: resp.Arguments) -> None:
        if request[0] == b"REFUSE":
            self._server.refusal = rules.Refusal.read(request) if request[1] else None
            self._answer(resp.OK)
            return
        refusal = self._server.refusal
        refused = None if refusal is None else refusal.reply_to(request)
        if refused is not None:
            self._answer(refused)
            return
        try:
            verdict = rules.judge(self._server.state, self._connection, request)
        except rules.AbortedError as error:
            self._server.abort(error)
            return
        if isinstance(verdict, bytes):
            self._answer(verdict)
        else:
            self._ask(request[0].upper(), verdict)

    def _answer(self, frame: bytes) -> None:
        """Reply without Redis, after what is still to come from it."""
        self._waiting.append(frame)
        self._deliver()

    def _ask(self, name: bytes, ask: rules.Ask) -> None:
        assert self.redis is not None
        in_transaction = self._connection.in_transaction and name not in (b"EXEC", b"DISCARD")
        # Within a transaction the reply is QUEUED.
        self._waiting.append(_unchanged if in_transaction else ask.answer)
        self._note(name, ask.command)
        self.redis.transport.write(resp.command(*ask.command))

    def _note(self, name: bytes, command: resp.Arguments) -> None:
        """Keep what later rules need to know of this connection."""
        connection = self._connection
        self._is_stream |= name in _STREAMS
        if name in (b"MULTI", b"EXEC", b"DISCARD"):
            connection.in_transaction = name == b"MULTI"
        elif name == b"SELECT" and len(command) == 2 and command[1].isdigit():
            connection.db = int(command[1])
        elif name == b"HELLO" and len(command) > 1:
            connection.resp3 = command[1] == b"3"
        elif name == b"CLIENT" and len(command) == 3 and command[1].upper() == b"SETNAME":
            connection.name = command[2].decode()
        elif name in (b"SAVE", b"BGSAVE"):
            self._server.save_scripts()

    def replied(self, frame: bytes) -> None:
        """Pass on a reply of Redis."""
        is_push = frame.startswith(b">")
        if self._is_stream or is_push or not self._waiting:
            self.transport.write(frame)
            return
        answer = self._waiting.popleft()
        assert not isinstance(answer, bytes)
        self.transport.write(rules.dragonfly_error(self._server.state, answer(frame)))
        self._deliver()

    def _deliver(self) -> None:
        """Write the replies that wait for none of Redis."""
        while self._waiting and isinstance(self._waiting[0], bytes):
            frame = self._waiting.popleft()
            assert isinstance(frame, bytes)
            self.transport.write(frame)

    def connection_lost(self, error: Exception | None) -> None:
        """Leave Redis as well."""
        self._server.state.connections.pop(self._connection.number, None)
        if self._connecting is not None:
            self._connecting.cancel()
        if self.redis is not None:
            self.redis.transport.close()

    def pause_writing(self) -> None:
        """Take no more of Redis while the client is slow."""
        if self.redis is not None:
            self.redis.transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on."""
        if self.redis is not None:
            self.redis.transport.resume_reading()


def _unchanged(frame: bytes) -> bytes:
    return frame


class _Redis(asyncio.Protocol):
    """The connection to Redis that belongs to one client."""

    transport: asyncio.Transport

    def __init__(self, client: _Client) -> None:
        self._client = client
        self._replies = resp.Replies()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Hand replies to the client."""
        for frame in self._replies.feed(data):
            self._client.replied(frame)

    def connection_lost(self, error: Exception | None) -> None:
        """Close the client's connection when Redis has closed this one (QUIT)."""
        self._client.transport.close()

    def pause_writing(self) -> None:
        """Take no more of the client while Redis is slow."""
        self._client.transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on."""
        self._client.transport.resume_reading()


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--server", type=Path, required=True)
    parser.add_argument("--bind", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--requirepass", default="")
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--maxmemory", default="512mb")
    parser.add_argument("--dbnum", type=int, default=16)
    parser.add_argument("--cache_mode", action="store_true")
    # What Dragonfly takes and has no meaning here.
    for name in ("dbfilename", "proactor_threads", "version_check", "snapshot_cron"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--logtostderr", action="store_true")
    return parser.parse_args(arguments)


async def _serve(server: _StandIn) -> None:
    loop = asyncio.get_running_loop()
    # The port first: Redis need not start where it is taken.
    listener: Any = await loop.create_server(
        lambda: _Client(server), server.options.bind, server.options.port, start_serving=False
    )
    server.start_redis()
    loop.add_signal_handler(signal.SIGTERM, server.end)
    async with listener:
        await listener.serve_forever()


def main() -> None:
    """Run until a signal ends it, or a rule."""
    asyncio.run(_serve(_StandIn(_options(sys.argv[1:]))))


if __name__ == "__main__":
    main()
