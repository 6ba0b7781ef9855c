"""Runs flows with blocking I/O."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from contextlib import suppress
from threading import Thread
from typing import Any, TypeVar

from redis import Redis
from redis.exceptions import ConnectionError, RedisError, ResponseError

from cache.store.circuit_breaker import CircuitBreaker
from cache.store.connection import TimeoutPolicy
from cache.store.flow import Batch, BlockingCall, Call, Command, Flow, Sleep, Step, WaitFor
from cache.store.fork import reset_after_fork
from cache.store.round_trip import RoundTrip, is_interruption, pack

R = TypeVar("R")


class SyncStore:
    """The store for callers that may block; safe for threads.

    Args:
        client: connects to the server; it tries everything once. Its pool is what is used here.
        policy: how long and how often a round trip is tried.
        breaker: counts missing answers; None tries every time.
    """

    def __init__(
        self, client: Redis, policy: TimeoutPolicy, breaker: CircuitBreaker | None = None
    ) -> None:
        self.client = client
        self._pool = client.connection_pool
        self._policy = policy
        self.breaker = breaker
        reset_after_fork(self, SyncStore._reset)

    def _reset(self) -> None:
        # Connections that nobody uses now. The pool makes and closes them; to have it hand them out and
        #: take them back would cost a fifth of a round trip.
        self._idle: list[Any] = []

    def run(self, flow: Flow[R]) -> R:
        """Run a flow to its end and return its result."""
        try:
            step = next(flow)
            while True:
                try:
                    answer = self._perform(step)
                except BaseException as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(answer)
        except StopIteration as end:
            result: R = end.value
            return result

    def spawn(self, flow: Flow[None], name: str) -> Callable[[], None]:
        """Run a flow in the background; the returned function waits for its end."""
        thread = Thread(target=self.run, args=(flow,), name=name, daemon=True)
        thread.start()
        return thread.join

    def close(self) -> None:
        """Close every connection; the next command connects again."""
        self._pool.disconnect()

    def _perform(self, step: Step) -> Any:
        match step:
            case Batch():
                return self._send(step)
            case Call() | BlockingCall():
                return step.function()
            case Sleep():
                return time.sleep(step.seconds)
            case WaitFor():
                done, _ = wait((step.future,), step.timeout, FIRST_COMPLETED)
                return bool(done)

    def _send(self, batch: Batch) -> list[Any]:
        round_trip = RoundTrip(batch, self._policy, self.breaker)
        while True:
            try:
                received = self._send_and_receive(round_trip.commands, batch.await_reply)
            except RedisError as error:
                time.sleep(round_trip.delay_before_retry(error))
            else:
                return round_trip.replies(received)

    def _send_and_receive(self, commands: Sequence[Command], await_reply: bool) -> list[Any]:
        connection = self._checkout()
        replies: list[Any] = []
        try:
            connection.send_packed_command(pack(commands))
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

    def _checkout(self) -> Any:
        """Return a connection that is connected, or will be when something is sent."""
        try:
            connection: Any = self._idle.pop()
        except IndexError:
            return self._new_connection()
        if connection.is_connected:
            try:
                # Closed by the server meanwhile, or answers that nobody has read.
                stale = connection.can_read()
            except ConnectionError:
                stale = True
            if stale:
                connection.disconnect()
        return connection

    def _new_connection(self) -> Any:
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
