"""Operations: methods whose body is a flow, so that one body serves blocking and asyncio callers.

    class Greetings(Operations[S]):
        @operation
        def greet(self, name: str) -> Flow[str]:
            (raw,) = yield Batch(("GET", f"greeting:{name}"))
            return raw.decode()

    Greetings(sync_store).greet("ada")            # "hello"
    await Greetings(async_store).greet("ada")     # "hello"

The type checker knows an object's store, and so whether its methods return a value or a coroutine.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import update_wrapper
from typing import Any, Concatenate, Generic, ParamSpec, overload

from typing_extensions import TypeVar

from cache.store.aio import AsyncStore
from cache.store.flow import Flow
from cache.store.sync import SyncStore

P = ParamSpec("P")
R = TypeVar("R")
#: The store of an object; `SyncStore` by default.
S = TypeVar("S", bound=SyncStore | AsyncStore, default=SyncStore)


_ASYNCIO = (
    "This cache is for asyncio (connect_async): use `async with`, or `await manager.aclose()`."
)
_BLOCKING = "This cache is not for asyncio (connect): use `with`, or `manager.close()`."


class Operations(Generic[S]):
    """The base of every class with operations. `store` runs their flows."""

    def __init__(self, store: S) -> None:
        self.store = store

    def _check_side(self, side: type[SyncStore | AsyncStore]) -> None:
        """Raise TypeError where an object of one side is used as one of the other."""
        if not isinstance(self.store, side):
            raise TypeError(_ASYNCIO if side is SyncStore else _BLOCKING)


class operation(Generic[P, R]):  # noqa: N801 - reads as a decorator
    """Decorates a method that returns a flow; calling it runs the flow on the object's store.

    A flow calls another operation with ``yield from Class.method.flow(self, …)``.
    """

    def __init__(self, flow: Callable[Concatenate[Any, P], Flow[R]]) -> None:
        self.flow = flow
        update_wrapper(self, flow)  # type: ignore[arg-type]  # a callable once it is bound

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
        run, flow = instance.store.run, self.flow

        def bound(*args: P.args, **kwargs: P.kwargs) -> Any:
            return run(flow(instance, *args, **kwargs))

        update_wrapper(bound, flow)
        # Cached on the instance: binding at every call would cost as much as the call.
        instance.__dict__[self._name] = bound
        return bound
