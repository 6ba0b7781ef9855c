"""Runs plans on asyncio."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from cache.store.breaker import Breaker
from cache.store.connection import Patience
from cache.store.exchange import Attempt, is_interruption, packed
from cache.store.plan import Await, Batch, Blocking, Call, Command, Pause, Plan, Request

R = TypeVar("R")

#: Threads for what blocks for a short I/O (`plan.Blocking`); none is started before it is needed.
THREADS = 4


class AsyncStore:
    """The store for callers on asyncio; every one of them on the same event loop.

    Args:
        client: connects to the server; it tries everything once. Its pool is what is used here.
        patience: how long and how often a round trip is tried.
        breaker: counts missing answers; None tries every time.
    """

    def __init__(self, client: Redis, patience: Patience, breaker: Breaker | None = None) -> None:
        self.client = client
        self._pool: Any = client.connection_pool
        self._patience = patience
        self.breaker = breaker
        # Connections that nobody uses now, see `SyncStore`.
        self._idle: list[Any] = []
        self._futures: WeakKeyDictionary[Future[Any], asyncio.Future[Any]] = WeakKeyDictionary()
        # Not asyncio's own threads: loaders may fill those for longer than we may wait.
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="cache")

    async def run(self, plan: Plan[R]) -> R:
        """Run a plan to its end and return its result."""
        try:
            request = next(plan)
            while True:
                try:
                    answer = await self._answer(request)
                except BaseException as error:
                    request = plan.throw(error)
                else:
                    request = plan.send(answer)
        except StopIteration as end:
            result: R = end.value
            return result

    def spawn(self, plan: Plan[None], name: str) -> Callable[[], Awaitable[None]]:
        """Run a plan in the background; the returned function waits for its end."""
        task = asyncio.create_task(self.run(plan), name=name)

        async def join() -> None:
            await task

        return join

    async def close(self) -> None:
        """Close every connection; the next command connects again."""
        await self._pool.disconnect()

    async def _answer(self, request: Request) -> Any:
        match request:
            case Batch():
                return await self._send(request)
            case Call():
                result = request.function()
                return await result if inspect.isawaitable(result) else result
            case Blocking():
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(self._threads, request.function)
            case Pause():
                return await asyncio.sleep(request.seconds)
            case Await():
                # `wait` cancels nothing: who gives up leaves the others waiting.
                done, _ = await asyncio.wait((self._seen(request.future),), timeout=request.timeout)
                return bool(done)

    def _seen(self, future: Future[Any]) -> asyncio.Future[Any]:
        """Return a future as asyncio sees it: one for all who wait, since none can be taken back."""
        seen = self._futures.get(future)
        if seen is None:
            seen = self._futures[future] = asyncio.wrap_future(future)
        return seen

    async def _send(self, batch: Batch) -> list[Any]:
        attempt = Attempt(batch, self._patience, self.breaker)
        while True:
            try:
                received = await self._exchange(attempt.commands, batch.await_reply)
            except RedisError as error:
                await asyncio.sleep(attempt.pause(error))
            else:
                return attempt.replies(received)

    async def _exchange(self, commands: Sequence[Command], await_reply: bool) -> list[Any]:
        cancelled = _times_cancelled()
        connection = await self._take()
        replies: list[Any] = []
        try:
            await connection.send_packed_command(packed(commands))
            _heed_cancellation(cancelled)
            while len(replies) < len(commands):
                replies.append(await _read(connection))
            return replies
        except BaseException as error:
            try:
                if await_reply and connection.is_connected and is_interruption(error):
                    with suppress(RedisError, OSError):
                        while len(replies) < len(commands):
                            replies.append(await _read(connection))
            finally:
                # Answers may be on their way that nobody would read.
                await connection.disconnect(nowait=True)
            raise
        finally:
            self._idle.append(connection)

    async def _take(self) -> Any:
        """Return a connection that is connected, or will be when something is sent."""
        try:
            connection = self._idle.pop()
        except IndexError:
            return await self._pool.get_connection()
        if connection.is_connected and await connection.can_read():
            # Closed by the server meanwhile, or answers that nobody has read.
            await connection.disconnect(nowait=True)
        return connection


def _times_cancelled() -> int:
    task = asyncio.current_task()
    return task.cancelling() if task else 0


def _heed_cancellation(before: int) -> None:
    """Raise the cancellation that `wait_for`, by which redis-py sends, may have swallowed."""
    if _times_cancelled() > before:
        raise asyncio.CancelledError


async def _read(connection: Any) -> Any:
    try:
        return await connection.read_response(disconnect_on_error=False)
    except ResponseError as error:
        return error
