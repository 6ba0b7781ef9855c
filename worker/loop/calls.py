"""Calls functions that wait for a disk or a server in threads, for the coroutines of an event loop.

What asyncio has for that (`run_in_executor`) makes two futures, a condition and three callbacks for each
call: half of what a hand-over costs. Here the results of all threads come back together.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from worker.logs.context import carried
from worker.loop.relief import Relief
from worker.resources import resource_error_of

logger = logging.getLogger(__name__)

R = TypeVar("R")

#: Called on the event loop with the result of a call, or with its error.
OnEnd = Callable[[Any, BaseException | None], None]


class CallThreads:
    """Threads that are started as needed; calls beyond their number wait in order.

    Args:
        most: threads at most.
        name: the first part of their names.
        beside_stuck: further threads at most, which are started while all are stuck: calls wait, and
            none ends for a second.
    """

    def __init__(self, most: int, name: str, *, beside_stuck: int = 0) -> None:
        self._most, self._name, self._beside_stuck = most, name, beside_stuck
        self._relief = Relief(lambda: self._calls.qsize(), lambda: self._ended, self._add_threads)
        self._ended = 0
        self._mutex = threading.Lock()
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        #: Calls that wait or run.
        self._unfinished = 0
        self._threads: list[threading.Thread] = []
        self._is_closed = False
        #: Of the event loop that has called last.
        self._results: Results | None = None

    def call(self, function: Callable[[], R]) -> asyncio.Future[R]:
        """Call a function in a thread; the future has its result. On an event loop.

        If the future is cancelled before the call has started, it is not made.
        """
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._put(carried(function), end_of(future), future.cancelled)
        return future

    def start(self, function: Callable[[], Any], on_end: OnEnd) -> None:
        """Call a function in a thread, then `on_end` on this event loop.

        Raises:
            RuntimeError: the threads are closed, or the system gives none; `on_end` is not called.
        """
        self._put(function, on_end, never)

    def shutdown(self) -> None:
        """Make the calls that wait, and end the threads."""
        self._relief.close()
        with self._mutex:
            self._is_closed = True
            for _ in self._threads:
                self._calls.put(None)
        for thread in self._threads:
            thread.join()

    def _put(
        self, function: Callable[[], Any], on_end: OnEnd, is_cancelled: Callable[[], bool]
    ) -> None:
        call = _Call(function, on_end, self.results(), is_cancelled)
        with self._mutex:
            if self._is_closed:
                raise RuntimeError(f"The threads {self._name} are closed")
            if len(self._threads) <= self._unfinished and len(self._threads) < self._most:
                self._start_thread()
            self._unfinished += 1
            self._calls.put(call)
            are_all_busy = self._unfinished > len(self._threads)
        if are_all_busy and self._beside_stuck:
            self._relief.watch()

    def results(self) -> Results:
        """Return the way of results to this event loop."""
        loop = asyncio.get_running_loop()
        if self._results is None or self._results.loop is not loop:
            self._results = Results(loop)
        return self._results

    def _start_thread(self) -> None:
        """Start one more; without it, go on with those that run."""
        name = f"{self._name}_{len(self._threads)}"
        thread = threading.Thread(target=self._work, name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            if not self._threads or resource_error_of(error) is None:
                raise
            logger.warning("No thread could be started; %d threads run", len(self._threads))
        else:
            self._threads.append(thread)

    def _add_threads(self, count: int) -> None:
        with self._mutex, suppress(RuntimeError):  # without one: the next look tries again
            room = self._most + self._beside_stuck - len(self._threads)
            for _ in range(0 if self._is_closed else min(count, room)):
                self._start_thread()

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            self._make(call)
            del call  # and what it refers to, while this thread waits
            if self._is_one_too_many():
                return

    def _is_one_too_many(self) -> bool:
        """Return whether there are more threads than usual, and none is stuck any more."""
        with self._mutex:
            is_usual = len(self._threads) <= self._most
            if self._is_closed or is_usual or self._unfinished >= self._most:
                return False
            self._threads.remove(threading.current_thread())
            return True

    def _make(self, call: _Call) -> None:
        try:
            result = None if call.is_cancelled() else call.function()
        except BaseException as error:
            self._end(call, None, error)
        else:
            self._end(call, result, None)

    def _end(self, call: _Call, result: Any, error: BaseException | None) -> None:
        with self._mutex:
            self._ended += 1
            self._unfinished -= 1  # first: who has the result may call this thread again
        call.results.put(call.on_end, result, error)


class Results:
    """Results on their way to an event loop: it is woken once for all that have come."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._results: deque[tuple[OnEnd, Any, BaseException | None]] = deque()
        self._is_woken = False

    def put(self, on_end: OnEnd, result: Any, error: BaseException | None) -> None:
        """Pass on the result or the error of a call. In any thread."""
        self._results.append((on_end, result, error))
        if not self._is_woken:
            self._is_woken = True
            with suppress(RuntimeError):  # the loop is closed: no one waits for the result
                self.loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        self._is_woken = False  # first: what comes from now on wakes the loop again
        while self._results:
            on_end, result, error = self._results.popleft()
            try:
                on_end(result, error)
            except Exception as raised:
                message = "The end of a call in a thread could not be handled"
                self.loop.call_exception_handler({"message": message, "exception": raised})


@dataclass(slots=True, eq=False)
class _Call:
    function: Callable[[], Any]
    on_end: OnEnd
    results: Results
    is_cancelled: Callable[[], bool]


def never() -> bool:
    """Return False: a call that is not cancelled."""
    return False


def end_of(future: asyncio.Future[Any]) -> OnEnd:
    """Return what gives the result or the error of a call to a future."""

    def end(result: Any, error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    return end
