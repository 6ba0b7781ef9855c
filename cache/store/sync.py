"""Runs plans with blocking I/O."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from contextlib import suppress
from threading import Thread
from typing import Any, TypeVar

from redis import Redis
from redis.exceptions import ConnectionError, RedisError, ResponseError

from cache.store.breaker import Breaker
from cache.store.connection import Patience
from cache.store.exchange import Attempt, is_interruption, packed
from cache.store.fork import begin_in_each_process
from cache.store.plan import Await, Batch, Blocking, Call, Command, Pause, Plan, Request

R = TypeVar("R")


class SyncStore:
    """The store for callers that may block; safe for threads.

    Args:
        client: connects to the server; it tries everything once. Its pool is what is used here.
        patience: how long and how often a round trip is tried.
        breaker: counts missing answers; None tries every time.
    """

    def __init__(self, client: Redis, patience: Patience, breaker: Breaker | None = None) -> None:
        self.client = client
        self._pool = client.connection_pool
        self._patience = patience
        self.breaker = breaker
        begin_in_each_process(self, SyncStore._begin)

    def _begin(self) -> None:
        # Connections that nobody uses now. The pool makes and closes them; to have it hand them out and
        #: take them back would cost a fifth of a round trip.
        self._idle: list[Any] = []

    def run(self, plan: Plan[R]) -> R:
        """Run a plan to its end and return its result."""
        try:
            request = next(plan)
            while True:
                try:
                    answer = self._answer(request)
                except BaseException as error:
                    request = plan.throw(error)
                else:
                    request = plan.send(answer)
        except StopIteration as end:
            result: R = end.value
            return result

    def spawn(self, plan: Plan[None], name: str) -> Callable[[], None]:
        """Run a plan in the background; the returned function waits for its end."""
        thread = Thread(target=self.run, args=(plan,), name=name, daemon=True)
        thread.start()
        return thread.join

    def close(self) -> None:
        """Close every connection; the next command connects again."""
        self._pool.disconnect()

    def _answer(self, request: Request) -> Any:
        match request:
            case Batch():
                return self._send(request)
            case Call() | Blocking():
                return request.function()
            case Pause():
                return time.sleep(request.seconds)
            case Await():
                done, _ = wait((request.future,), request.timeout, FIRST_COMPLETED)
                return bool(done)

    def _send(self, batch: Batch) -> list[Any]:
        attempt = Attempt(batch, self._patience, self.breaker)
        while True:
            try:
                received = self._exchange(attempt.commands, batch.await_reply)
            except RedisError as error:
                time.sleep(attempt.pause(error))
            else:
                return attempt.replies(received)

    def _exchange(self, commands: Sequence[Command], await_reply: bool) -> list[Any]:
        connection = self._take()
        replies: list[Any] = []
        try:
            connection.send_packed_command(packed(commands))
            while len(replies) < len(commands):
                replies.append(_read(connection))
            return replies
        except BaseException as error:
            try:
                if await_reply and connection.is_connected and is_interruption(error):
                    with suppress(RedisError, OSError):
                        while len(replies) < len(commands):
                            replies.append(_read(connection))
            finally:
                # Answers may be on their way that nobody would read.
                connection.disconnect()
            raise
        finally:
            self._idle.append(connection)

    def _take(self) -> Any:
        """Return a connection that is connected, or will be when something is sent."""
        try:
            connection: Any = self._idle.pop()
        except IndexError:
            return self._connected()
        if connection.is_connected:
            try:
                # Closed by the server meanwhile, or answers that nobody has read.
                stale = connection.can_read()
            except ConnectionError:
                stale = True
            if stale:
                connection.disconnect()
        return connection

    def _connected(self) -> Any:
        """Return a connection of the pool's."""
        try:
            return self._pool.get_connection()
        except RedisError:
            raise
        except BaseException:
            # A signal came while it connected. The pool has half a connection now, which is for nobody.
            self._pool.disconnect(inuse_connections=False)
            raise


def _read(connection: Any) -> Any:
    try:
        return connection.read_response(disconnect_on_error=False)
    except ResponseError as error:
        return error
