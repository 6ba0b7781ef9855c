"""Flows: what is to be done, without doing it.

A flow is a generator that yields what it needs from outside (commands for the store, a pause, a call
of the caller's own function) and is sent the answers. Flows hold all the logic and do no I/O; a flow
may call another with ``yield from``. Who runs one decides how: `SyncStore` blocks, `AsyncStore`
awaits.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from concurrent.futures import Future
from typing import Any, TypeVar

R = TypeVar("R")

Argument = str | int | float | bytes
Command = tuple[Argument, ...]


class Batch:
    """Commands for one round trip; the answer is the list of their replies, raw (RESP2).

    Args:
        commands: each a tuple of the command's words.
        atomic: run them as one transaction (MULTI, EXEC).
        once: never send them a second time: they count something, and a lost answer does not say whether
            they ran.
        errors_as_replies: put a command's error into its place instead of raising the first one.
        await_reply: when the caller is interrupted (cancelled, or by a signal), wait for the reply all
            the same: what the caller sends then, to undo the commands, must not overtake them.

    Raises (at the ``yield``):
        StoreUnavailableError: no answer, or a server that cannot serve (out of memory, read-only,
        loading). StoreReplyError: it refused a command, say because its key is of another type.
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
    """Wait some seconds."""

    __slots__ = ("seconds",)

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds


class Call:
    """Call a function of the caller's for its result. With asyncio it may be a coroutine function."""

    __slots__ = ("function",)

    def __init__(self, function: Callable[[], Any]) -> None:
        self.function = function


class BlockingCall:
    """Call a function of ours that blocks for a short I/O; with asyncio it runs in a thread."""

    __slots__ = ("function",)

    def __init__(self, function: Callable[[], Any]) -> None:
        self.function = function


class WaitFor:
    """Wait for a future, at most `timeout` seconds; the answer says whether it is done."""

    __slots__ = ("future", "timeout")

    def __init__(self, future: Future[Any], timeout: float) -> None:
        self.future = future
        self.timeout = timeout


Step = Batch | Sleep | Call | BlockingCall | WaitFor
Flow = Generator[Step, Any, R]
