"""Carries the items of many callers together: one transaction, or one pipeline, for all that wait.

The first caller goes at once. While its batch is under way, further items collect; the next batch takes
them all.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

from worker.loop.calls import CallThreads

T = TypeVar("T")

#: Items in one batch: what a batch costs itself is then little for each of them.
LIMIT = 64


class Batcher(Generic[T]):
    """Runs items in batches, one batch at a time, in the order in which they came.

    Args:
        name: of its thread.
        run: runs a batch, in that thread. Returns for each item its result, or the exception that the
            item's caller gets. An exception that it raises is that of all items.
        limit: items in one batch at most.
    """

    def __init__(
        self, name: str, run: Callable[[Sequence[T]], Sequence[Any]], *, limit: int = LIMIT
    ) -> None:
        self._run, self._limit = run, limit
        self._thread = CallThreads(1, name)
        self._waiting: deque[tuple[T, asyncio.Future[Any]]] = deque()
        self._is_running = False

    def __call__(self, item: T) -> asyncio.Future[Any]:
        """Hand in an item, on the event loop; the future has its result."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._waiting.append((item, future))
        if not self._is_running:
            self._is_running = True
            loop.call_soon(self._start)  # with all items of this round of the loop
        return future

    def close(self) -> None:
        """Wait for the batch that runs, and end the thread."""
        self._thread.shutdown()

    def _start(self) -> None:
        count = min(self._limit, len(self._waiting))
        batch = [self._waiting.popleft() for _ in range(count)]
        items = [item for item, _ in batch]
        try:
            self._thread.start(partial(self._run, items), partial(self._finish, batch))
        except RuntimeError as error:  # the system gives no thread now
            self._finish(batch, (), error)

    def _finish(
        self,
        batch: Sequence[tuple[T, asyncio.Future[Any]]],
        results: Sequence[Any],
        error: BaseException | None,
    ) -> None:
        # The next batch first: its thread works while the callers of this one go on.
        if self._waiting:
            self._start()
        else:
            self._is_running = False
        if error is not None:
            results = [error] * len(batch)
        if len(results) != len(batch):
            results = [RuntimeError(f"{len(batch)} items, {len(results)} results")] * len(batch)
        for (_, future), result in zip(batch, results, strict=True):
            if future.done():  # its caller no longer waits
                continue
            if isinstance(result, BaseException):
                future.set_exception(result)
            else:
                future.set_result(result)
