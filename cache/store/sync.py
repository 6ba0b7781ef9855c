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
    """The store for callers that may block. Thread-safe.

    Args:
        client: a client without retries of its own; its connection pool is used here.
        policy: timeouts and retries of a round trip.
        breaker: the circuit breaker; None to try every call.
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
        # Connections that are not in use. The pool creates and closes them; taking each one from the
        # pool and returning it would cost a fifth of a round trip.
        self._idle: list[Any] = []

    def run(self, flow: Flow[R]) -> R:
        """Run a flow to its end and return its result."""
        try:
            step = next(flow)
            while True:
                try:
                    result = self._perform(step)
                except BaseException as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(result)
        except StopIteration as end:
            returned: R = end.value
            return returned

    def run_together(self, flows: Sequence[Flow[Any]]) -> list[Any]:
        """Run several flows; return for each its result, or the exception that it raised."""
        results: list[Any] = []
        for flow in flows:
            try:
                results.append(self.run(flow))
            except Exception as error:
                results.append(error)
        return results

    def spawn(self, flow: Flow[None], name: str) -> Callable[[], None]:
        """Run a flow in a background thread; return the function that joins it."""
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
                # Replies that are still on their way would be read as those of the next command.
                connection.disconnect()
            raise
        finally:
            self._idle.append(connection)

    def _checkout(self) -> Any:
        """Return an idle or new connection; one that is not connected connects when it sends."""
        try:
            connection: Any = self._idle.pop()
        except IndexError:
            return self._new_connection()
        if connection.is_connected:
            try:
                # Readable means: closed by the server, or with replies that were never read.
                stale = connection.can_read()
            except ConnectionError:
                stale = True
            if stale:
                connection.disconnect()
        return connection

    def _new_connection(self) -> Any:
        """Return a new connection of the pool."""
        try:
            return self._pool.get_connection()
        except RedisError:
            raise
        except BaseException:
            # A signal arrived while it was connecting; the pool now holds an unusable connection.
            self._pool.disconnect(inuse_connections=False)
            raise


def _read(connection: Any) -> Any:
    try:
        return connection.read_response(disconnect_on_error=False)
    except ResponseError as error:
        return error
