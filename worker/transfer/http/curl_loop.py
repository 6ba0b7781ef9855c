"""libcurl's multi interface on epoll: one thread runs many requests without blocking on any."""

from __future__ import annotations

import select
import threading
import time
from contextlib import suppress
from typing import Any

import pycurl

_per_thread = threading.local()
#: Handles kept for reuse; an idle one holds little more than its options.
_SPARE_HANDLES = 8


class CurlLoop:
    """Runs requests until they end. Belongs to one thread; sockets stay open between jobs."""

    def __init__(self) -> None:
        self._multi = pycurl.CurlMulti()
        self._epoll = select.epoll()
        self._deadline: float | None = None
        self._spare: list[Any] = []
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._on_socket)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._on_timer)
        # One connection for each range, over HTTP/2 too: its streams would share one connection's speed.
        self._multi.setopt(pycurl.M_PIPELINING, 0)

    def acquire(self) -> Any:
        """Return a handle without options."""
        return self._spare.pop() if self._spare else pycurl.Curl()

    def start(self, handle: Any) -> None:
        """Start the request of a handle; the next `process` sends it."""
        self._multi.add_handle(handle)

    def release(self, handle: Any) -> None:
        """End a handle's request if it is running, and keep the handle for reuse. Not in a callback."""
        with suppress(pycurl.error):  # it was not started
            self._multi.remove_handle(handle)
        handle.setopt(pycurl.SHARE, None)  # `reset` would keep it, and a job's cookies with it
        handle.reset()
        if len(self._spare) < _SPARE_HANDLES:
            self._spare.append(handle)
        else:
            handle.close()

    def wait(self, timeout: float) -> list[tuple[int, int]]:
        """Wait for socket events for at most `timeout` seconds; return them, for `process`."""
        if self._deadline is not None:
            timeout = min(timeout, max(0.0, self._deadline - time.monotonic()))
        return self._epoll.poll(timeout)

    def process(self, events: list[tuple[int, int]]) -> None:
        """Let libcurl handle socket events and its own timeouts; this runs the callbacks."""
        if self._deadline is not None and time.monotonic() >= self._deadline:
            self._deadline = None
            self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
        for fd, event in events:
            self._multi.socket_action(fd, _to_curl(event))

    def take_finished(self) -> list[tuple[Any, int, str]]:
        """Return (handle, libcurl's code, its message) of requests that ended since the last call."""
        found: list[tuple[Any, int, str]] = []
        more = 1
        while more:
            more, good, bad = self._multi.info_read()
            found += [(handle, 0, "") for handle in good]
            found += bad
        return found

    def _on_socket(self, what: int, fd: int, _multi: Any, _data: Any) -> None:
        if what == pycurl.POLL_REMOVE:
            with suppress(OSError):  # a closed descriptor has already left the epoll set
                self._epoll.unregister(fd)
            return
        events = _from_curl(what)
        try:
            self._epoll.register(fd, events)
        except FileExistsError:
            self._epoll.modify(fd, events)

    def _on_timer(self, milliseconds: int) -> None:
        self._deadline = None if milliseconds < 0 else time.monotonic() + milliseconds / 1000


def thread_loop() -> CurlLoop:
    """Return this thread's loop."""
    if not hasattr(_per_thread, "loop"):
        _per_thread.loop = CurlLoop()
    loop: CurlLoop = _per_thread.loop
    return loop


def _from_curl(what: int) -> int:
    events = 0
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
