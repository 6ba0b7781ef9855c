"""Both clients with one face, so that each test runs on both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

from seen_client import AsyncClient, Client

KINDS = ("blocking", "asyncio")


class _OnAsyncio:
    """An `AsyncClient` whose methods are called blocking, on a loop of its own."""

    def __init__(self, runner: asyncio.Runner, client: AsyncClient) -> None:
        self._runner, self._client = runner, client

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            result = method(*args, **kwargs)
            return self._items(result) if hasattr(result, "__anext__") else self._runner.run(result)

        return call

    def _items(self, found: AsyncGenerator[Any, None]) -> Iterator[Any]:
        async def following() -> Any:
            return await anext(found)

        try:
            while True:
                try:
                    yield self._runner.run(following())
                except StopAsyncIteration:
                    return
        finally:
            self._runner.run(found.aclose())


@contextmanager
def client_of(kind: str, url: str, key: str | None = None, **options: Any) -> Iterator[Client]:
    """A client of this kind; both are used as the blocking one."""
    if kind == "blocking":
        with Client(url, key, **options) as client:
            yield client
        return
    with asyncio.Runner() as runner:
        client_ = AsyncClient(url, key, **options)
        try:
            yield cast(Client, _OnAsyncio(runner, client_))
        finally:
            runner.run(client_.close())
