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
from cache.store.fork import reset_after_fork
from cache.store.round_trip import GroupTrip, RoundTrip, is_interruption, pack

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
        """Run flows side by side; return for each what it returns, or the exception that it raises.

        What they send in one round is one pipeline: see `cache.store.flow.lockstep`. An error reply is
        that of one flow alone; after a lost connection each batch is repeated or fails by its own rules.
        """
        return self.run(lockstep(flows))

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
            case Pipeline():
                return self._send_group(step)
            case Call() | BlockingCall():
                return step.function()
            case Sleep():
                return time.sleep(step.seconds)
            case WaitFor():
                done, _ = wait((step.future,), step.timeout, FIRST_COMPLETED)
                return bool(done)

    def _send(self, batch: Batch) -> list[Any]:
        round_trip = RoundTrip(batch, self._policy, self.breaker)
        blocks, count = pack(round_trip.commands), len(round_trip.commands)
        while True:
            replies: list[Any] = []
            try:
                self._send_and_receive(
                    blocks, count, replies, await_reply=batch.await_reply, read=_read
                )
            except RedisError as error:
                time.sleep(round_trip.delay_before_retry(error))
            else:
                return round_trip.replies(replies)

    def _send_group(self, pipeline: Pipeline) -> list[Any]:
        group = GroupTrip(pipeline.batches, self._policy, self.breaker)
        while group.count:
            replies: list[Any] = []
            lost: RedisError | None = None
            try:
                self._send_and_receive(
                    group.blocks,
                    group.count,
                    replies,
                    await_reply=group.await_reply,
                    read=_read_any,
                )
            except RedisError as error:
                lost = error
            if delay := group.receive(replies, lost):
                time.sleep(delay)
        return group.outcomes

    def _send_and_receive(
        self,
        blocks: list[bytes],
        count: int,
        replies: list[Any],
        *,
        await_reply: bool,
        read: Callable[[Any], Any],
    ) -> None:
        """Send commands and append their replies to `replies`, which has some if the rest is lost."""
        connection = self._checkout()
        try:
            connection.send_packed_command(blocks)
            while len(replies) < count:
                replies.append(read(connection))
        except BaseException as error:
            try:
                if await_reply and connection.is_connected and is_interruption(error):
                    with suppress(RedisError, OSError):
                        while len(replies) < count:
                            replies.append(read(connection))
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


def _read_any(connection: Any) -> Any:
    """Return the next reply, also one that redis-py raises as it raises a lost connection: LOADING."""
    try:
        return _read(connection)
    except ConnectionError as error:
        if type(error) is ConnectionError:
            raise
        return error
