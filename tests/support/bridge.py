"""Calls the cache's asyncio side as if it blocked, so that one test covers both sides."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Coroutine
from typing import Any, cast

from cache import CacheManager
from cache.store.aio import AsyncStore
from cache.store.connection import reliable_policy, sync_client
from cache.store.operation import Operations
from settings import Settings
from tests.support.closing import Closing


class AsyncSide(Closing):
    """An event loop in a thread of its own; `manager` makes managers that live on it.

    What is called on such a manager runs on the loop while the calling thread waits: several threads are
    several tasks. Loaders given by tests may block; they run in threads.
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="async side", daemon=True
        )
        self._thread.start()
        self._managers: list[_ManagerBridge] = []

    def manager(self, settings: Settings, *, retries: int = 0, **options: Any) -> CacheManager:
        """Return a manager on asyncio that looks like a blocking one; closed with this object."""
        manager = CacheManager.connect_async(settings, retries=retries, **options)
        bridge = _ManagerBridge(self, manager, settings)
        self._managers.append(bridge)
        return cast("CacheManager", bridge)

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine on the loop, and return or raise what it does."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=120)

    def close(self) -> None:
        """Close the managers, and end the loop when no task is left."""
        for manager in self._managers:
            manager.close()
        self.run(self._loop.shutdown_default_executor())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class _Bridge:
    """One object of the async side."""

    def __init__(self, side: AsyncSide, target: Any) -> None:
        self._side = side
        self._target = target

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        if isinstance(value, Operations | AsyncStore):
            return _Bridge(self._side, value)
        return self._blocking(value) if inspect.isroutine(value) else value

    def close(self) -> None:
        """Close it."""
        self._side.run(self._target.aclose())

    def __enter__(self) -> Any:
        entered = self._side.run(self._target.__aenter__())
        return self if entered is self._target else self._entered(entered)

    def __exit__(self, *error: Any) -> None:
        self._side.run(self._target.__aexit__(*error))

    def _entered(self, value: Any) -> Any:
        return _Bridge(self._side, value) if isinstance(value, Operations) else value

    def _blocking(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            if method.__name__ == "get_or_load":
                arguments = tuple(
                    _in_thread(one) if _is_function(one) else one for one in arguments
                )
            result = method(*arguments, **named)
            return self._entered(self._side.run(result) if inspect.iscoroutine(result) else result)

        return call


class _ManagerBridge(_Bridge):
    """A manager; its `client`, a test's own look at the server, blocks by itself."""

    def __init__(self, side: AsyncSide, target: Any, settings: Settings) -> None:
        super().__init__(side, target)
        self.client = sync_client(settings, reliable_policy(settings))

    def close(self) -> None:
        """Close it, before its side is or then."""
        super().close()
        self.client.close()


def _is_function(value: Any) -> bool:
    return callable(value) and not isinstance(value, type) and not hasattr(value, "__origin__")


def _in_thread(function: Callable[[], Any]) -> Callable[[], Coroutine[Any, Any, Any]]:
    async def loader() -> Any:
        return await asyncio.to_thread(function)

    return loader
