"""Operations written once, for callers with and without asyncio.

An operation is a *plan*: a generator that yields what it needs from outside (commands for the store, a
pause, a call of the caller's own function) and is sent the answers. Plans hold all the logic and do no
I/O. Who runs one decides how: `SyncStore` blocks, `AsyncStore` awaits. So there is one copy of every
key, script, reply and rule, and a plan may call another with ``yield from``.

    class Greetings(Operations[S]):
        @operation
        def greet(self, name: str) -> Plan[str]:
            (raw,) = yield Batch(("GET", f"greeting:{name}"))
            return raw.decode()

    Greetings(sync_store).greet("ada")            # "hello"
    await Greetings(async_store).greet("ada")     # "hello"
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import Future
from functools import update_wrapper
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, overload

from typing_extensions import TypeVar

if TYPE_CHECKING:
    from cache.store.aio import AsyncStore
    from cache.store.sync import SyncStore

P = ParamSpec("P")
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

    Raises (at the ``yield``):
        StoreUnavailableError: no answer, or a server that cannot serve (out of memory, read-only,
        loading). redis.ResponseError: a command was wrong.
    """

    __slots__ = ("atomic", "commands", "errors_as_replies", "once")

    def __init__(
        self,
        *commands: Command,
        atomic: bool = False,
        once: bool = False,
        errors_as_replies: bool = False,
    ) -> None:
        self.commands = commands
        self.atomic = atomic
        self.once = once
        self.errors_as_replies = errors_as_replies


class Pause:
    """Wait some seconds."""

    __slots__ = ("seconds",)

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds


class Call:
    """Call a function of the caller's for its result. With asyncio it may be a coroutine function."""

    __slots__ = ("function",)

    def __init__(self, function: Callable[[], Any]) -> None:
        self.function = function


class Blocking:
    """Call a function of ours that blocks for a short I/O; with asyncio it runs in a thread."""

    __slots__ = ("function",)

    def __init__(self, function: Callable[[], Any]) -> None:
        self.function = function


class Await:
    """Wait for a future, at most `timeout` seconds; the answer says whether it is done."""

    __slots__ = ("future", "timeout")

    def __init__(self, future: Future[Any], timeout: float) -> None:
        self.future = future
        self.timeout = timeout


Request = Batch | Pause | Call | Blocking | Await
Plan = Generator[Request, Any, R]
#: Which store an object works on; blocking unless told otherwise.
S = TypeVar("S", bound="SyncStore | AsyncStore", default="SyncStore")


class Operations(Generic[S]):
    """The base of every class with operations: it knows the store that runs them."""

    def __init__(self, store: S) -> None:
        self.store = store


class operation(Generic[P, R]):  # noqa: N801 - reads as a decorator
    """Makes a method that returns a plan into one that runs it: blocking, or a coroutine.

    Within plans, ``yield from type(self).method.plan(self, …)`` calls the plan itself.
    """

    def __init__(self, plan: Callable[Concatenate[Any, P], Plan[R]]) -> None:
        self.plan = plan
        update_wrapper(self, plan)  # type: ignore[arg-type]  # a callable once it is bound

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> operation[P, R]: ...
    @overload
    def __get__(
        self, instance: Operations[SyncStore], owner: type | None = None
    ) -> Callable[P, R]: ...
    @overload
    def __get__(
        self, instance: Operations[AsyncStore], owner: type | None = None
    ) -> Callable[P, Coroutine[Any, Any, R]]: ...
    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        run, plan = instance.store.run, self.plan

        def bound(*args: P.args, **kwargs: P.kwargs) -> Any:
            return run(plan(instance, *args, **kwargs))

        update_wrapper(bound, plan)
        # Found first from now on: binding anew at every call would cost as much as the call.
        instance.__dict__[self._name] = bound
        return bound
