"""One asyncio event loop in a thread of its own: all downloads of a process run on it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


class EventLoopThread:
    """The loop, and the way into it for other threads. The thread starts at first use.

    Nothing on the loop may block: a thread that waits for a disk or a database stops every download.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str = "downloads") -> None:
        self._name = name
        self._mutex = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop, which runs."""
        with self._mutex:
            if self._loop is None:
                self._start()
            assert self._loop is not None
            return self._loop

    def _start(self) -> None:
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=self._run, args=(loop,), name=self._name, daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system gives no thread now; the next caller tries again
            loop.close()
            raise
        self._loop, self._thread = loop, thread

    def call_soon(self, callback: Callable[..., object], *arguments: Any) -> None:
        """Let the loop call a function. Any thread may call this."""
        self.loop.call_soon_threadsafe(callback, *arguments)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end and return its result. Not on the loop's own thread."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result()

    def close(self) -> None:
        """Cancel what still runs on the loop, and stop it."""
        with self._mutex:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is not None and thread is not None:
            asyncio.run_coroutine_threadsafe(_cancel_all(), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()

    @staticmethod
    def _run(loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        loop.set_default_executor(ThreadPoolExecutor(1000, thread_name_prefix="transfer"))
        try:
            loop.run_forever()
        finally:
            loop.close()


async def _cancel_all() -> None:
    this = asyncio.current_task()
    while tasks := asyncio.all_tasks() - {this}:  # those that end may start others
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
