"""One connection to the test origin: read requests, send answers, misbehave as planned."""

from __future__ import annotations

import contextlib
import fcntl
import socket
import struct
import termios
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Protocol

from tests.support.origins.behaviour import Behaviour, Plan, Request

SLICE = 256 * 1024  # bytes given to the system at once when nothing slows the body down
PACED_SLICES = 50  # slices a second under `bytes_per_second`
MAX_HEAD = 64 * 1024  # bytes of a request head
TICK = 0.01  # seconds between two looks at the client while nothing is sent
DRAIN = 5.0  # seconds a client is given to take what precedes a reset


class ClientLeftError(Exception):
    """The client closed the connection, or the origin is closing."""


class Exchange(Protocol):
    """One request and its answer, as the origin's log sees it."""

    behaviour: Behaviour
    plan: Plan

    def sent(self, count: int) -> None:
        """Record the body bytes sent so far."""

    def finish(self) -> None:
        """Record the end; a second call does nothing."""


class Connection:
    """A connection with its own thread. `begin` logs a request and plans its answer."""

    def __init__(
        self,
        client: socket.socket,
        closing: threading.Event,
        begin: Callable[[Connection, Request], Exchange],
    ) -> None:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._client = client
        self._closing = closing
        self._begin = begin
        self._buffer = b""
        self.thread = threading.Thread(target=self._run, name="origin-connection", daemon=True)

    def shut_down(self) -> None:
        """Wake the thread up, wherever it waits on the network."""
        with contextlib.suppress(OSError):  # it may have ended already
            self._client.shutdown(socket.SHUT_RDWR)

    def client_left(self) -> bool:
        """Whether the client has closed its side (a look, nothing is read)."""
        try:
            return self._client.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True

    def _run(self) -> None:
        # A client that leaves is no error here: the log has what was sent.
        with self._client, contextlib.suppress(ClientLeftError, OSError):
            while (request := self._read_request()) and self._answer(request):
                pass

    def _read_request(self) -> Request | None:
        """The next request head, or None when the client sends no more (or no HTTP)."""
        while b"\r\n\r\n" not in self._buffer:
            data = self._client.recv(MAX_HEAD)
            self._buffer += data
            if not data or len(self._buffer) > MAX_HEAD:
                return None
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        parts = first.split(" ")
        if len(parts) != 3:
            return None
        pairs = (line.partition(":") for line in lines)
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        return Request(parts[0], parts[1], parts[2], headers)

    def _answer(self, request: Request) -> bool:
        """Send the answer; whether the connection is good for another request."""
        exchange = self._begin(self, request)
        try:
            if exchange.behaviour.delay:
                self._wait(exchange.behaviour.delay)
            exchange.plan.close = exchange.plan.close or not request.keep_alive
            self._send(request, exchange)
            return not exchange.plan.close and exchange.plan.fault is None
        finally:
            exchange.finish()

    def _send(self, request: Request, exchange: Exchange) -> None:
        plan = exchange.plan
        if plan.raw is not None or plan.head_stops is not None:
            self._send_no_answer(exchange)
            return
        bodiless = request.method == "HEAD" or (plan.length == 0 and not plan.chunked)
        if bodiless:
            exchange.finish()
        self._client.sendall(plan.head())
        if not bodiless:
            self._send_body(exchange)
        if plan.fault is not None:
            self._fail(exchange)
        elif plan.close:
            exchange.finish()
            # An explicit FIN: close alone sends a reset when the client's data lies unread.
            self._client.shutdown(socket.SHUT_WR)

    def _send_no_answer(self, exchange: Exchange) -> None:
        """Send what is not HTTP, or only the beginning of it."""
        plan = exchange.plan
        plan.close = True
        if plan.raw is None:
            self._client.sendall(plan.head()[: plan.head_stops])
            while True:
                self._wait(TICK)
        for data in plan.raw:
            if self.client_left():
                raise ClientLeftError
            self._client.sendall(data)
        exchange.finish()
        self._client.shutdown(socket.SHUT_WR)

    def _send_body(self, exchange: Exchange) -> None:
        plan, behaviour = exchange.plan, exchange.behaviour
        if plan.status not in (200, 206):
            behaviour = replace(behaviour, gate=None)  # it holds the file back, not a refusal
        if plan.bytes_per_second is not None:
            behaviour = replace(behaviour, bytes_per_second=plan.bytes_per_second)
        total = plan.fault.after if plan.fault else plan.length
        # The last byte goes out by itself, after the end is logged. A client that has it all
        # never finds its request still running, and two in a row never look like two at once.
        stops = [total - 1, behaviour.gate_after]
        blocks = plan.content.blocks(plan.start, plan.start + total)
        sent, started = 0, time.monotonic()
        for piece in _cut(blocks, _slice_size(behaviour), stops):
            self._hold_back(behaviour, sent, started)
            if sent + len(piece) == total and plan.fault is None and not plan.chunked:
                exchange.sent(total)
                exchange.finish()
            self._send_piece(exchange, piece, sent)
            sent += len(piece)
        self._hold_back(behaviour, sent, started)
        if plan.chunked and plan.fault is None:
            exchange.finish()
            self._client.sendall(b"0\r\n\r\n")

    def _send_piece(self, exchange: Exchange, piece: memoryview, before: int) -> None:
        # Counted first, so that a client never has bytes that the log does not know of.
        exchange.sent(before + len(piece))
        if exchange.plan.chunked:
            self._client.sendall(b"%x\r\n" % len(piece) + bytes(piece) + b"\r\n")
            return
        done = 0
        try:
            while done < len(piece):
                done += self._client.send(piece[done:])
        except OSError:
            exchange.sent(before + done)
            raise

    def _hold_back(self, behaviour: Behaviour, sent: int, started: float) -> None:
        """Wait at the gate, or for the moment the pace allows the next slice."""
        gate = behaviour.gate
        if gate is not None and sent == behaviour.gate_after:
            while not gate.is_set():
                self._wait(TICK)
        if behaviour.bytes_per_second:
            due = started + sent / behaviour.bytes_per_second
            self._wait(max(0.0, due - time.monotonic()))

    def _fail(self, exchange: Exchange) -> None:
        fault = exchange.plan.fault
        assert fault is not None
        if fault.kind == "hang":
            while True:
                self._wait(TICK)
        if fault.kind == "truncate":
            exchange.finish()
            self._client.shutdown(socket.SHUT_WR)
            return
        self._drain()
        exchange.finish()
        self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._client.close()

    def _drain(self) -> None:
        """Wait until the client's system has every byte: a reset throws away what is on its way."""
        end = time.monotonic() + DRAIN
        while time.monotonic() < end:
            waiting = fcntl.ioctl(self._client.fileno(), termios.TIOCOUTQ, b"\0\0\0\0")
            if struct.unpack("i", waiting)[0] == 0:
                return
            self._wait(TICK / 10)

    def _wait(self, seconds: float) -> None:
        """Wait so long; raises `ClientLeftError` as soon as the client has left."""
        end = time.monotonic() + seconds
        while not self._closing.is_set() and not self.client_left():
            left = end - time.monotonic()
            if left <= 0:
                return
            self._closing.wait(min(left, TICK))
        raise ClientLeftError


def _slice_size(behaviour: Behaviour) -> int:
    if not behaviour.bytes_per_second:
        return SLICE
    return max(1, min(SLICE, behaviour.bytes_per_second // PACED_SLICES))


def _cut(blocks: Iterable[memoryview], size: int, stops: Iterable[int]) -> Iterator[memoryview]:
    """Cut a stream of bytes into pieces of at most `size` that never reach over a stop."""
    ahead = sorted({stop for stop in stops if stop > 0}, reverse=True)
    position = 0
    for block in blocks:
        while block:
            while ahead and ahead[-1] <= position:
                ahead.pop()
            limit = min(size, ahead[-1] - position) if ahead else size
            piece, block = block[:limit], block[limit:]
            position += len(piece)
            yield piece
