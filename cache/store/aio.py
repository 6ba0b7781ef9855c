"""Runs plans on asyncio."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from redis.asyncio import Redis
from redis.exceptions import ConnectionError, RedisError, ResponseError, TimeoutError

from cache.store.breaker import Breaker
from cache.store.connection import Patience, is_unavailable, unavailable
from cache.store.exchange import commands_of, pause_before_repeating, replies_of
from cache.store.plan import Await, Batch, Blocking, Call, Pause, Plan, Request

R = TypeVar("R")


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
                return await self._guarded(request)
            case Call():
                result = request.function()
                return await result if inspect.isawaitable(result) else result
            case Blocking():
                return await asyncio.to_thread(request.function)
            case Pause():
                return await asyncio.sleep(request.seconds)
            case Await():
                # A waiter that gives up must not cancel what others wait for.
                waiter = asyncio.shield(asyncio.wrap_future(request.future))
                done, _ = await asyncio.wait((waiter,), timeout=request.timeout)
                return bool(done)

    async def _guarded(self, batch: Batch) -> list[Any]:
        breaker = self.breaker
        ticket = breaker.enter() if breaker else 0
        try:
            received = await self._patiently(batch)
        except RedisError as error:
            if not is_unavailable(error):
                raise
            if breaker:
                breaker.unanswered(ticket)
            raise unavailable(error) from error
        if breaker:
            breaker.answered()
        return replies_of(batch, received)

    async def _patiently(self, batch: Batch) -> list[Any]:
        tried = 0
        while True:
            try:
                return await self._exchange(batch)
            except (ConnectionError, TimeoutError) as error:
                tried += 1
                pause = pause_before_repeating(batch, error, tried, self._patience)
                if pause is None:
                    raise
                await asyncio.sleep(pause)

    async def _exchange(self, batch: Batch) -> list[Any]:
        commands = commands_of(batch)
        connection = await self._pool.get_connection()
        try:
            await connection.send_packed_command(connection.pack_commands(commands))
            return [await _read(connection) for _ in commands]
        except BaseException:
            # Answers may be on their way that nobody would read.
            await connection.disconnect(nowait=True)
            raise
        finally:
            await self._pool.release(connection)


async def _read(connection: Any) -> Any:
    try:
        return await connection.read_response()
    except ResponseError as error:
        return error
