"""libcurl's multi interface on an asyncio event loop: one thread runs all requests."""

from __future__ import annotations

import asyncio
import math
import select
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pycurl

#: Handles kept for reuse; an idle one holds little more than its options.
_SPARE_HANDLES = 64
#: Idle connections kept open for further requests.
_IDLE_CONNECTIONS = 256
#: Sockets in one call of epoll.
_SOCKETS_AT_ONCE = 16
#: After so many bytes, other work has its turn: it hands them on to the disk.
_BYTES_AT_ONCE = 4 * 1024 * 1024
#: Sockets that are due within this time are read together. Seconds.
_TICK = 0.02

#: Called with libcurl's code (0 for success) and its message when a request has ended.
OnEnd = Callable[[int, str], None]


class CurlLoop:
    """Runs requests until they end. Belongs to the thread of one event loop.

    All requests share connections, resolved names and TLS sessions. Every socket is armed for one event
    (EPOLLONESHOT), and armed again after it: at once, or at the pace that `pace` set for it.

    Args:
        loop: the event loop.
        waiting_bytes: returns how many received bytes wait for other work.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, waiting_bytes: Callable[[], int] = lambda: 0
    ) -> None:
        self._loop = loop
        self._waiting_bytes = waiting_bytes
        self._multi = pycurl.CurlMulti()
        self._epoll = select.epoll()
        #: When libcurl is to be called without an event, by the loop's clock; a timer may ring sooner.
        self._timeout_at = math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._is_called_soon = False
        self._on_end: dict[Any, OnEnd] = {}
        self._spare: list[Any] = []
        #: What libcurl waits for, by socket.
        self._events: dict[int, int] = {}
        #: Seconds from one read to the next, by socket, and when it is due.
        self._pace: dict[int, float] = {}
        self._due: dict[int, float] = {}
        #: Asked before a socket is read; after False, `read_on` follows.
        self._gates: dict[int, Callable[[], bool]] = {}
        self._ticker: asyncio.TimerHandle | None = None
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._on_socket)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._on_timer)
        self._multi.setopt(pycurl.M_MAXCONNECTS, _IDLE_CONNECTIONS)
        # One connection for each range, over HTTP/2 too: its streams would share one connection's speed.
        self._multi.setopt(pycurl.M_PIPELINING, 0)
        loop.add_reader(self._epoll.fileno(), self._on_ready)

    # ── requests ────────────────────────────────────────────────────────────────────────────────

    def acquire(self) -> Any:
        """Return a handle without options."""
        return self._spare.pop() if self._spare else pycurl.Curl()

    def start(self, handle: Any, on_end: OnEnd) -> None:
        """Start the request of a handle; `on_end` is called when it has ended."""
        self._on_end[handle] = on_end
        self._multi.add_handle(handle)

    def release(self, handle: Any) -> None:
        """End a handle's request if it is running, and keep the handle for reuse. Not in a callback."""
        if self._on_end.pop(handle, None) is not None:
            with suppress(pycurl.error):  # it was not started
                self._multi.remove_handle(handle)
        handle.setopt(pycurl.SHARE, None)  # `reset` would keep it, and a job's cookies with it
        handle.reset()
        if len(self._spare) < _SPARE_HANDLES:
            self._spare.append(handle)
        else:
            handle.close()

    def pace(self, socket: int, seconds: float, may_read: Callable[[], bool]) -> None:
        """Choose when a socket is read.

        Args:
            socket: that of a running request.
            seconds: not sooner than so long after the last time: by then it has more bytes.
            may_read: called before each time; after it has returned False, the socket is not read until
                `read_on`.
        """
        self._gates[socket] = may_read
        if seconds:
            self._pace[socket] = seconds
        else:
            self._pace.pop(socket, None)

    def is_paced(self, socket: int, seconds: float) -> bool:
        """Return whether `pace` was called so for a socket, since libcurl has waited for it."""
        return socket in self._gates and self._pace.get(socket, 0.0) == seconds

    def read_on(self, socket: int) -> None:
        """Read a socket that was not to be read."""
        self._arm(socket)

    def close(self) -> None:
        """Close all connections; no request may be running."""
        if not self._loop.is_closed():
            self._loop.remove_reader(self._epoll.fileno())
        for timer in (self._timer, self._ticker):
            if timer is not None:
                timer.cancel()
        for handle in self._spare:
            handle.close()
        self._multi.close()
        self._epoll.close()

    # ── events ──────────────────────────────────────────────────────────────────────────────────

    def _on_ready(self) -> None:
        """Let libcurl serve the sockets that are ready; this runs the callbacks of their requests."""
        most, more = self._waiting_bytes() + _BYTES_AT_ONCE, True
        while more and self._waiting_bytes() < most:
            ready = self._epoll.poll(0, _SOCKETS_AT_ONCE)
            more = len(ready) == _SOCKETS_AT_ONCE
            self._read([one for one in ready if self._may_read(one[0])])

    def _may_read(self, socket: int) -> bool:
        may_read = self._gates.get(socket)
        return may_read is None or may_read()

    def _read(self, ready: list[tuple[int, int]]) -> None:
        for socket, event in ready:
            self._multi.socket_action(socket, _to_curl(event))
        self._end_requests()
        self._arm_all([socket for socket, _event in ready])

    def _on_tick(self) -> None:
        """Arm the sockets that are due at their pace."""
        now = time.monotonic() + _TICK / 2
        due = [socket for socket, moment in self._due.items() if moment <= now]
        for socket in due:
            del self._due[socket]
            self._arm(socket)
        self._ticker = self._loop.call_later(_TICK, self._on_tick) if self._due else None

    def _on_soon(self) -> None:
        self._is_called_soon = False
        self._call_if_due()

    def _on_timeout(self) -> None:
        self._timer = None
        self._call_if_due()

    def _call_if_due(self) -> None:
        # Not sooner: libcurl would find nothing to do, and not call `_on_timer` again.
        if self._timeout_at <= self._loop.time():
            self._timeout_at = math.inf
            self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
            self._end_requests()
        self._set_timer()

    def _set_timer(self) -> None:
        """Have a timer ring in time. One that rings sooner stays: what it was for is mostly done."""
        if self._timeout_at == math.inf:
            return
        if self._timer is not None:
            if self._timer.when() <= self._timeout_at:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(self._timeout_at, self._on_timeout)

    def _end_requests(self) -> None:
        more = 1
        while more:
            more, good, bad = self._multi.info_read()
            for handle in good:
                self._on_end[handle](0, "")
            for handle, code, message in bad:
                self._on_end[handle](code, message)

    # ── libcurl's callbacks ─────────────────────────────────────────────────────────────────────

    def _on_socket(self, what: int, socket: int, _multi: Any, _data: Any) -> None:
        self._due.pop(socket, None)
        if what == pycurl.POLL_REMOVE:
            self._events.pop(socket, None)
            self._pace.pop(socket, None)
            self._gates.pop(socket, None)
            with suppress(OSError):  # a closed descriptor has already left the epoll set
                self._epoll.unregister(socket)
        else:
            self._events[socket] = _from_curl(what)
            self._arm(socket)

    def _on_timer(self, milliseconds: int) -> None:
        """Note after how many milliseconds libcurl is to be called; -1 for never."""
        if milliseconds < 0:
            self._timeout_at = math.inf
            return
        self._timeout_at = self._loop.time() + milliseconds / 1000
        if milliseconds > 0:
            self._set_timer()
        elif not self._is_called_soon:  # as for each new request
            self._is_called_soon = True
            self._loop.call_soon(self._on_soon)

    def _arm_all(self, sockets: list[int]) -> None:
        """Wait for events again, now or at the pace of each socket."""
        now = time.monotonic()
        for socket in sockets:
            if socket not in self._pace:
                self._arm(socket)
            elif socket in self._events:
                self._due[socket] = now + self._pace[socket]
        if self._due and self._ticker is None:
            self._ticker = self._loop.call_later(_TICK, self._on_tick)

    def _arm(self, socket: int) -> None:
        events = self._events.get(socket)
        if events is not None:
            try:
                self._epoll.modify(socket, events)
            except FileNotFoundError:
                self._epoll.register(socket, events)


def _from_curl(what: int) -> int:
    events = select.EPOLLONESHOT
    if what & pycurl.POLL_IN:
        events |= select.EPOLLIN
    if what & pycurl.POLL_OUT:
        events |= select.EPOLLOUT
    return events


def _to_curl(event: int) -> int:
    if event & (select.EPOLLERR | select.EPOLLHUP):
        return int(pycurl.CSELECT_IN | pycurl.CSELECT_OUT | pycurl.CSELECT_ERR)
    action = 0
    if event & select.EPOLLIN:
        action |= pycurl.CSELECT_IN
    if event & select.EPOLLOUT:
        action |= pycurl.CSELECT_OUT
    return action
