"""Makes calls that wait for disks: those of one folder share a few threads, which make call after call.

To wake a thread for each call costs more than most of the calls. So a thread goes on with the next call
of its folder while there is one. A lone call goes at once. If calls wait long, more threads serve them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple, TypeVar

from worker.logs.context import carried
from worker.loop.calls import CallThreads, OnEnd, end_of, never

T = TypeVar("T")

#: Threads for calls of all folders.
MOST_THREADS = 128
#: Further threads while all of these are stuck: a mount that hangs has many folders.
BESIDE_STUCK = 896
#: Threads of one folder at most, so that one which hangs leaves threads for others.
MOST_QUICK, MOST_LONG = 8, 64
#: When a call has waited so long, further threads serve its folder. Seconds.
_PATIENCE = 0.002
#: Threads that make so many calls each in that time do not wait for the disk: more of them would only
#: hand Python's interpreter lock to and fro.
_QUICK_CALLS = 8
#: Event loop, folder, `takes_long`.
_Key = tuple[asyncio.AbstractEventLoop, str, bool]


class FolderThreads:
    """Makes calls of all folders in the threads of one pool. Use it on an event loop.

    In its methods, `folder` is what hangs as one, and `takes_long` says that the call reads a whole file
    or makes it durable: such calls hold up no others.

    Args:
        threads: `MOST_THREADS` of them.
    """

    def __init__(self, threads: CallThreads) -> None:
        self._threads = threads
        self._queues: dict[_Key, _Queue] = {}

    def call(
        self, folder: str, function: Callable[[], T], *, takes_long: bool = False
    ) -> asyncio.Future[T]:
        """Call a function in a thread; the future has its result.

        If the future is cancelled before the call has started, it is not made.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        now = future.get_loop().time()
        call = _Call(carried(function), end_of(future), future.cancelled, now)
        self._queue(folder, takes_long).add(call)
        return future

    def start(
        self,
        folder: str,
        function: Callable[[], Any],
        on_end: OnEnd,
        *,
        takes_long: bool = False,
        is_cancelled: Callable[[], bool] = never,
    ) -> None:
        """Call a function in a thread, then `on_end` on this event loop.

        If `is_cancelled` returns True when its turn has come, it is not called. `on_end` gets a
        RuntimeError if the threads are closed, or the system gives none.
        """
        now = asyncio.get_running_loop().time()
        self._queue(folder, takes_long).add(_Call(carried(function), on_end, is_cancelled, now))

    def shutdown(self) -> None:
        """Make the calls that wait, and end the threads."""
        self._threads.shutdown()

    def _queue(self, folder: str, takes_long: bool) -> _Queue:
        key = asyncio.get_running_loop(), folder, takes_long
        queue = self._queues.get(key)
        if queue is None:
            most = MOST_LONG if takes_long else MOST_QUICK
            queue = _Queue(self._threads, most, key[0], partial(self._forget, key))
            self._queues[key] = queue
        return queue

    def _forget(self, key: _Key, queue: _Queue) -> None:
        if self._queues.get(key) is queue:
            del self._queues[key]


class _Call(NamedTuple):
    function: Callable[[], Any]
    on_end: OnEnd
    is_cancelled: Callable[[], bool]
    since: float


class _Queue:
    """The calls of one folder. All but `_serve` runs on the event loop."""

    def __init__(
        self,
        threads: CallThreads,
        most: int,
        loop: asyncio.AbstractEventLoop,
        on_idle: Callable[[_Queue], None],
    ) -> None:
        self._threads, self._most, self._loop, self._on_idle = threads, most, loop, on_idle
        self._results = threads.results()
        self._waiting: deque[_Call] = deque()
        #: How many threads serve this folder.
        self._serving = 0
        self._is_starting = False
        #: Calls made since the watch began; roughly, since threads count without a lock.
        self._made = 0
        self._timer: asyncio.TimerHandle | None = None

    def add(self, call: _Call) -> None:
        self._waiting.append(call)
        if self._serving:
            self._watch()
        elif not self._is_starting:
            # After this turn of the loop: what it adds, and holds the interpreter for, comes first.
            self._is_starting = True
            self._loop.call_soon(self._start)

    def _start(self) -> None:
        """Have a thread serve this folder; without one, the calls that wait end with the error."""
        self._is_starting = False
        if self._serving or not self._waiting:
            return
        are_several = len(self._waiting) > 1
        try:
            self._start_thread()
        except RuntimeError as error:  # the system gives none now, or the threads are closed
            self._on_idle(self)
            while self._waiting:
                self._waiting.popleft().on_end(None, error)
            return
        if are_several:
            self._watch()

    def _watch(self) -> None:
        """Look soon whether the threads that serve this folder are enough, if there may be more."""
        if self._timer is None and self._serving < self._most:
            self._made = 0
            self._timer = self._loop.call_later(_PATIENCE, self._start_more_threads)

    def _start_thread(self) -> None:
        self._threads.start(self._serve, self._on_thread_end)
        self._serving += 1

    def _start_more_threads(self) -> None:
        """Double the threads if a call waits long, and not only behind many quick ones."""
        self._timer = None
        are_quick = self._made >= _QUICK_CALLS * self._serving
        try:
            is_late = self._waiting[0].since <= self._loop.time() - _PATIENCE
        except IndexError:  # a thread has taken the last one
            return
        if is_late and not are_quick:
            more = min(max(self._serving, 1), self._most - self._serving, len(self._waiting))
            with suppress(RuntimeError):  # those that run go on
                for _ in range(more):
                    self._start_thread()
        self._watch()

    def _serve(self) -> None:
        """Make call after call, in a thread, until none waits."""
        while self._waiting:
            try:
                call = self._waiting.popleft()
            except IndexError:  # another thread has taken it
                return
            result, failed = None, None
            try:
                if not call.is_cancelled():
                    result = call.function()
            except BaseException as error:
                failed = error
            self._made += 1
            self._results.put(call.on_end, result, failed)
            del call, result, failed  # and what they refer to

    def _on_thread_end(self, _result: Any, _error: BaseException | None) -> None:
        self._serving -= 1
        if self._serving:
            if self._waiting:  # added when this thread had found nothing more; the others may hang
                self._watch()
            return
        if not self._waiting:
            self._on_idle(self)
            return
        self._start()  # added when the thread had found nothing more
