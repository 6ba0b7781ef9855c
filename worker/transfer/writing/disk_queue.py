"""The disk operations of one transfer: in order, in threads of a pool, never on the event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from domain.errors import SeenError
from worker.transfer.interfaces import DiskCalls

_T = TypeVar("_T")


@dataclass(slots=True)
class _Operation:
    work: Callable[[], Any]
    on_success: Callable[[Any], None]
    on_error: Callable[[BaseException], None]
    is_posted: bool
    takes_long: bool = False
    progress: Callable[[], object] | None = None


class DiskQueue:
    """Runs operations one after another. Belongs to the thread of an event loop.

    Args:
        disk: runs them.
        on_error: called when a posted operation has failed.

    Attributes:
        error: of a posted operation; further posted ones are not run.
    """

    def __init__(self, disk: DiskCalls, on_error: Callable[[], None]) -> None:
        self._disk, self._on_error = disk, on_error
        self._loop = asyncio.get_running_loop()
        self._queue: deque[_Operation] = deque()
        self._is_running = False
        self.error: BaseException | None = None

    @property
    def is_busy(self) -> bool:
        """Whether an operation runs or waits."""
        return self._is_running

    def post(self, work: Callable[[], _T], on_success: Callable[[_T], None]) -> None:
        """Run `work` after those before it, then `on_success` with its result, on the event loop."""
        self._add(_Operation(work, on_success, self._fail, is_posted=True))

    async def call(
        self,
        work: Callable[[], _T],
        *,
        takes_long: bool = False,
        progress: Callable[[], object] | None = None,
    ) -> _T:
        """Run `work` after those before it, even if one of them failed; return or raise its result.

        Args:
            work: what to run.
            takes_long: it reads the whole file, or makes it durable.
            progress: returns how far it is, in any form; None if that cannot be seen.
        """
        result: asyncio.Future[_T] = self._loop.create_future()
        self._add(
            _Operation(
                work,
                lambda value: None if result.done() else result.set_result(value),
                lambda error: None if result.done() else result.set_exception(error),
                is_posted=False,
                takes_long=takes_long,
                progress=progress,
            )
        )
        return await result

    async def wait(self) -> None:
        """Wait until all operations have ended."""
        if self._is_running:
            await self.call(lambda: None)

    def raise_error(self) -> None:
        """Raise the error of a posted operation, once."""
        if self.error is not None:
            error, self.error = self.error, None
            raise error

    def _add(self, operation: _Operation) -> None:
        self._queue.append(operation)
        if not self._is_running:
            self._run_next()

    def _run_next(self) -> None:
        while self._queue:
            operation = self._queue.popleft()
            if self.error is None or not operation.is_posted:
                self._is_running = True
                self._disk.start(
                    operation.work,
                    partial(self._end, operation),
                    takes_long=operation.takes_long,
                    progress=operation.progress,
                )
                return
        self._is_running = False

    def _end(self, operation: _Operation, result: Any, error: BaseException | None) -> None:
        try:
            if error is None:
                operation.on_success(result)
            else:
                operation.on_error(error)
        finally:
            self._run_next()

    def _fail(self, error: BaseException) -> None:
        if self.error is None or not isinstance(error, SeenError):
            self.error = error
        self._on_error()
