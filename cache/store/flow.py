"""Flows: logic without I/O ("sans-I/O", as in the `auth_flow` generators of httpx).

A flow is a generator. It yields a step (commands for the store, a sleep, a function to call) and
receives the result of that step. `SyncStore` runs a flow with blocking I/O, `AsyncStore` runs it on
asyncio. A flow calls another one with ``yield from``.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from concurrent.futures import Future
from typing import Any, TypeVar

R = TypeVar("R")

Argument = str | int | float | bytes
Command = tuple[Argument, ...]


class Batch:
    """Commands for one round trip. The result is the list of their raw replies (RESP2).

    Args:
        commands: each is a tuple: the command's name and its arguments.
        atomic: run them in one transaction (MULTI, EXEC).
        once: do not retry after a lost reply. For commands that are not idempotent, such as INCRBY.
        errors_as_replies: put a command's error into the list instead of raising the first error.
        await_reply: when the caller is interrupted (cancelled, or by a signal), still wait for the
            reply. For commands that the caller then undoes with another command.

    Raises (at the ``yield``):
        StoreUnavailableError: no reply, or a server that cannot serve (out of memory, read-only,
            loading).
        StoreReplyError: the server refused a command, for example because its key has another type.
    """

    __slots__ = ("atomic", "await_reply", "commands", "errors_as_replies", "once")

    def __init__(
        self,
        *commands: Command,
        atomic: bool = False,
        once: bool = False,
        errors_as_replies: bool = False,
        await_reply: bool = False,
    ) -> None:
        self.commands = commands
        self.atomic = atomic
        self.once = once
        self.errors_as_replies = errors_as_replies
        self.await_reply = await_reply


class Sleep:
    """Sleep for some seconds."""

    __slots__ = ("seconds",)

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds


class Call:
    """Call a function of the application. On asyncio it may be a coroutine function."""

    __slots__ = ("function",)

    def __init__(self, function: Callable[[], Any]) -> None:
        self.function = function


class BlockingCall:
    """Call a function of this package that blocks for one short I/O. On asyncio it runs in a thread."""

    __slots__ = ("function",)

    def __init__(self, function: Callable[[], Any]) -> None:
        self.function = function


class WaitFor:
    """Wait for a future, at most `timeout` seconds. The result says whether it is done."""

    __slots__ = ("future", "timeout")

    def __init__(self, future: Future[Any], timeout: float) -> None:
        self.future = future
        self.timeout = timeout


Step = Batch | Sleep | Call | BlockingCall | WaitFor
Flow = Generator[Step, Any, R]


def gather(*flows: Flow[Any]) -> Flow[list[Any]]:
    """Run several flows, and return their results."""
    results = []
    for flow in flows:
        result = yield from flow
        results.append(result)
    return results
