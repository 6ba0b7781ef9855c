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
from redis.exceptions import ConnectionError, RedisError, ResponseError

from cache.store.circuit_breaker import CircuitBreaker
from cache.store.connection import TimeoutPolicy
from cache.store.flow import (
    Batch,
    BlockingCall,
    Call,
    Flow,
    Pipeline,
    Sleep,
    Step,
    WaitFor,
    lockstep,
)
from cache.store.round_trip import GroupTrip, RoundTrip, is_interruption, pack
from domain.errors import InvalidInputError

R = TypeVar("R")

#: Threads for `flow.BlockingCall`; each is started when it is first needed.
THREADS = 4


class AsyncStore:
    """The store for callers on asyncio, all of them on the same event loop.

    Args:
        client: a client without retries of its own; its connection pool is used here.
        policy: timeouts and retries of a round trip.
        breaker: the circuit breaker; None to try every call.
    """

    def __init__(
        self, client: Redis, policy: TimeoutPolicy, breaker: CircuitBreaker | None = None
    ) -> None:
        self.client = client
        self._pool: Any = client.connection_pool
        self._policy = policy
        self.breaker = breaker
        # Connections that are not in use, see `SyncStore`.
        self._idle: list[Any] = []
        # The loop of the connections, from the first one until `close`.
        self._loop: asyncio.AbstractEventLoop | None = None
        self._futures: WeakKeyDictionary[Future[Any], asyncio.Future[Any]] = WeakKeyDictionary()
        # Not asyncio's default threads: an application's loaders may occupy them for long.
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="cache")

    async def run(self, flow: Flow[R]) -> R:
        """Run a flow to its end and return its result."""
        try:
            step = next(flow)
            while True:
                try:
                    result = await self._perform(step)
                except BaseException as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(result)
        except StopIteration as end:
            returned: R = end.value
            return returned

    async def run_together(self, flows: Sequence[Flow[Any]]) -> list[Any]:
        """See `SyncStore.run_together`."""
        return await self.run(lockstep(flows))

    def spawn(self, flow: Flow[None], name: str) -> Callable[[], Awaitable[None]]:
        """Run a flow in a background task; return the function that awaits it."""
        task = asyncio.create_task(self.run(flow), name=name)

        async def join() -> None:
            await task

        return join

    async def close(self) -> None:
        """Close every connection; the next command connects again, on the event loop that it runs on."""
        self._check_loop()
        await self._pool.disconnect()
        self._loop = None

    def _check_loop(self) -> None:
        """Raise InvalidInputError on another event loop than that of the connections."""
        running = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = running
        elif self._loop is not running:
            raise InvalidInputError(
                "event loop",
                "a second one",
                "A manager's connections belong to the event loop that first used them: close it there "
                "with `aclose()`, or make one manager in each loop, with `async with`.",
            )

    async def _perform(self, step: Step) -> Any:
        match step:
            case Batch():
                return await self._send(step)
            case Pipeline():
                return await self._send_group(step)
            case Call():
                result = step.function()
                return await result if inspect.isawaitable(result) else result
            case BlockingCall():
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(self._threads, step.function)
            case Sleep():
                return await asyncio.sleep(step.seconds)
            case WaitFor():
                # `asyncio.wait` does not cancel the future on a timeout: others wait for it.
                done, _ = await asyncio.wait(
                    (self._as_asyncio_future(step.future),), timeout=step.timeout
                )
                return bool(done)

    def _as_asyncio_future(self, future: Future[Any]) -> asyncio.Future[Any]:
        """Return the asyncio future of a future, one for all its waiters: callbacks stay for good."""
        wrapped = self._futures.get(future)
        if wrapped is None:
            wrapped = self._futures[future] = asyncio.wrap_future(future)
        return wrapped

    async def _send(self, batch: Batch) -> list[Any]:
        round_trip = RoundTrip(batch, self._policy, self.breaker)
        blocks, count = pack(round_trip.commands), len(round_trip.commands)
        while True:
            replies: list[Any] = []
            try:
                await self._send_and_receive(
                    blocks, count, replies, await_reply=batch.await_reply, read=_read
                )
            except RedisError as error:
                await asyncio.sleep(round_trip.delay_before_retry(error))
            else:
                return round_trip.replies(replies)

    async def _send_group(self, pipeline: Pipeline) -> list[Any]:
        group = GroupTrip(pipeline.batches, self._policy, self.breaker)
        while group.count:
            replies: list[Any] = []
            lost: RedisError | None = None
            try:
                await self._send_and_receive(
                    group.blocks,
                    group.count,
                    replies,
                    await_reply=group.await_reply,
                    read=_read_any,
                )
            except RedisError as error:
                lost = error
            if delay := group.receive(replies, lost):
                await asyncio.sleep(delay)
        return group.outcomes

    async def _send_and_receive(
        self,
        blocks: list[bytes],
        count: int,
        replies: list[Any],
        *,
        await_reply: bool,
        read: Callable[[Any], Awaitable[Any]],
    ) -> None:
        """Send commands and append their replies to `replies`, which has some if the rest is lost."""
        cancelled = _cancel_count()
        connection = await self._checkout()
        try:
            await connection.send_packed_command(blocks)
            _raise_if_cancelled(cancelled)
            while len(replies) < count:
                replies.append(await read(connection))
        except BaseException as error:
            try:
                if await_reply and connection.is_connected and is_interruption(error):
                    with suppress(RedisError, OSError):
                        while len(replies) < count:
                            replies.append(await read(connection))
            finally:
                # Replies that are still on their way would be read as those of the next command.
                await connection.disconnect(nowait=True)
            raise
        finally:
            self._idle.append(connection)

    async def _checkout(self) -> Any:
        """Return an idle or new connection; one that is not connected connects when it sends."""
        self._check_loop()
        try:
            connection = self._idle.pop()
        except IndexError:
            return await self._pool.get_connection()
        if connection.is_connected and await connection.can_read():
            # Readable means: closed by the server, or with replies that were never read.
            await connection.disconnect(nowait=True)
        return connection


def _cancel_count() -> int:
    task = asyncio.current_task()
    return task.cancelling() if task else 0


def _raise_if_cancelled(before: int) -> None:
    """Raise a cancellation that `wait_for`, with which redis-py sends, may have swallowed."""
    if _cancel_count() > before:
        raise asyncio.CancelledError


async def _read(connection: Any) -> Any:
    try:
        return await connection.read_response(disconnect_on_error=False)
    except ResponseError as error:
        return error


async def _read_any(connection: Any) -> Any:
    """Return the next reply, also one that redis-py raises as it raises a lost connection: LOADING."""
    try:
        return await _read(connection)
    except ConnectionError as error:
        if type(error) is ConnectionError:
            raise
        return error
