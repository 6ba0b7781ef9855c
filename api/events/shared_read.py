"""One read for all who want it at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Generic, TypeVar

T = TypeVar("T")


class SharedRead(Generic[T]):
    """Reads once for all who ask while another read is made. Belongs to the thread of an event loop.

    A caller gets no read that ran before it came: it may know of a change which that does not have.
    """

    def __init__(self) -> None:
        self._last: asyncio.Task[T] | None = None
        self._next: asyncio.Task[T] | None = None

    async def get(self, read: Callable[[], Awaitable[T]]) -> T:
        """Return what a read returns that begins now or later; raise what it raises.

        Args:
            read: of one of the callers is used; all of them would return the same.
        """
        if self._next is None:
            self._next = asyncio.create_task(self._after(self._last, read))
            self._next.add_done_callback(self._end)
        return await asyncio.shield(self._next)  # a caller that leaves ends it for no other one

    async def _after(self, before: asyncio.Task[T] | None, read: Callable[[], Awaitable[T]]) -> T:
        if before is not None:
            with suppress(Exception):
                await asyncio.shield(before)
        self._last, self._next = self._next, None
        return await read()

    def _end(self, task: asyncio.Task[T]) -> None:
        """Keep no result, which may be large; no error is logged if all callers have left."""
        if not task.cancelled():
            task.exception()
        if self._last is task:
            self._last = None
        if self._next is task:
            self._next = None
