"""Runs flows on asyncio."""

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

from cache.store.circuit_breaker import CircuitBreaker
from cache.store.connection import TimeoutPolicy
from cache.store.flow import Batch, BlockingCall, Call, Command, Flow, Sleep, Step, WaitFor
from cache.store.round_trip import RoundTrip, is_interruption, pack

R = TypeVar("R")

#: Threads for what blocks for a short I/O (`flow.BlockingCall`); none is started before it is needed.
THREADS = 4


class AsyncStore:
    """The store for callers on asyncio; every one of them on the same event loop.

    Args:
        client: connects to the server; it tries everything once. Its pool is what is used here.
        policy: how long and how often a round trip is tried.
        breaker: counts missing answers; None tries every time.
    """

    def __init__(
        self, client: Redis, policy: TimeoutPolicy, breaker: CircuitBreaker | None = None
    ) -> None:
        self.client = client
        self._pool: Any = client.connection_pool
        self._policy = policy
        self.breaker = breaker
        # Connections that nobody uses now, see `SyncStore`.
        self._idle: list[Any] = []
        self._futures: WeakKeyDictionary[Future[Any], asyncio.Future[Any]] = WeakKeyDictionary()
        # Not asyncio's own threads: loaders may fill those for longer than we may wait.
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="cache")

    async def run(self, flow: Flow[R]) -> R:
        """Run a flow to its end and return its result."""
        try:
            step = next(flow)
            while True:
                try:
                    answer = await self._perform(step)
                except BaseException as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(answer)
        except StopIteration as end:
            result: R = end.value
            return result

    def spawn(self, flow: Flow[None], name: str) -> Callable[[], Awaitable[None]]:
        """Run a flow in the background; the returned function waits for its end."""
        task = asyncio.create_task(self.run(flow), name=name)

        async def join() -> None:
            await task

        return join

    async def close(self) -> None:
        """Close every connection; the next command connects again."""
        await self._pool.disconnect()

    async def _perform(self, step: Step) -> Any:
        match step:
            case Batch():
                return await self._send(step)
            case Call():
                result = step.function()
                return await result if inspect.isawaitable(result) else result
            case BlockingCall():
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(self._threads, step.function)
            case Sleep():
                return await asyncio.sleep(step.seconds)
            case WaitFor():
                # `wait` cancels nothing: who gives up leaves the others waiting.
                done, _ = await asyncio.wait(
                    (self._as_asyncio_future(step.future),), timeout=step.timeout
                )
                return bool(done)

    def _as_asyncio_future(self, future: Future[Any]) -> asyncio.Future[Any]:
        """Return a future as asyncio sees it: one for all who wait, since none can be taken back."""
        seen = self._futures.get(future)
        if seen is None:
            seen = self._futures[future] = asyncio.wrap_future(future)
        return seen

    async def _send(self, batch: Batch) -> list[Any]:
        round_trip = RoundTrip(batch, self._policy, self.breaker)
        while True:
            try:
                received = await self._send_and_receive(round_trip.commands, batch.await_reply)
            except RedisError as error:
                await asyncio.sleep(round_trip.delay_before_retry(error))
            else:
                return round_trip.replies(received)

    async def _send_and_receive(self, commands: Sequence[Command], await_reply: bool) -> list[Any]:
        cancelled = _cancel_count()
        connection = await self._checkout()
        replies: list[Any] = []
        try:
            await connection.send_packed_command(pack(commands))
            _raise_if_cancelled(cancelled)
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

    async def _checkout(self) -> Any:
        """Return a connection that is connected, or will be when something is sent."""
        try:
            connection = self._idle.pop()
        except IndexError:
            return await self._pool.get_connection()
        if connection.is_connected and await connection.can_read():
            # Closed by the server meanwhile, or answers that nobody has read.
            await connection.disconnect(nowait=True)
        return connection


def _cancel_count() -> int:
    task = asyncio.current_task()
    return task.cancelling() if task else 0


def _raise_if_cancelled(before: int) -> None:
    """Raise the cancellation that `wait_for`, by which redis-py sends, may have swallowed."""
    if _cancel_count() > before:
        raise asyncio.CancelledError


async def _read(connection: Any) -> Any:
    try:
        return await connection.read_response(disconnect_on_error=False)
    except ResponseError as error:
        return error
