"""Loaders under the control of a test, and many callers at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self


class Loader:
    """Returns its value, or raises it when it is an error; counts how often.

    Attributes:
        runs: how often it has been called.
    """

    def __init__(self, value: Any) -> None:
        self.value = value
        self.runs = 0
        self._mutex = threading.Lock()

    def __call__(self) -> Any:
        with self._mutex:
            self.runs += 1
        return self._outcome()

    def _outcome(self) -> Any:
        if isinstance(self.value, BaseException):
            raise self.value
        return self.value


class HeldLoader(Loader):
    """A loader that, once started, waits until it is released; the end of its ``with`` releases it, too.

    Attributes:
        started: set when it is called.
    """

    def __init__(self, value: Any) -> None:
        super().__init__(value)
        self.started = threading.Event()
        self._released = threading.Event()

    def _outcome(self) -> Any:
        self.started.set()
        assert self._released.wait(60), "the loader was not released"
        return super()._outcome()

    def let_go(self) -> None:
        """Let it end, now and whenever it is called again."""
        self._released.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.let_go()


class Caller:
    """One call in a thread of its own; the end of its ``with`` waits for it."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._pool = ThreadPoolExecutor(1)
        self._future: Future[Any] = self._pool.submit(call)

    @property
    def done(self) -> bool:
        """Whether the call has ended."""
        return self._future.done()

    def result(self) -> Any:
        """Return what it returned, or raise what it raised."""
        return self._future.result(60)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown()


def crowd(count: int, call: Callable[[], Any]) -> list[Any]:
    """Call something in `count` threads that begin together; what each of them returned or raised."""
    barrier = threading.Barrier(count)

    def run() -> Any:
        barrier.wait()
        try:
            return call()
        except Exception as error:
            return error

    with ThreadPoolExecutor(count) as pool:
        return [future.result(120) for future in [pool.submit(run) for _ in range(count)]]
