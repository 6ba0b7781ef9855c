"""Both clients with one face, so that each test runs on both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import httpx

from seen_client import AsyncClient, Client
from tests.support.services.http_api import CERTIFICATES

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
def client_of(
    kind: str, url: str, key: str | None = None, *, follow_redirects: bool = False, **options: Any
) -> Iterator[Client]:
    """A client of this kind; both are used as the blocking one.

    Args:
        follow_redirects: of the client of httpx that it has.
    """
    if kind == "blocking":
        with (
            httpx.Client(verify=CERTIFICATES, follow_redirects=follow_redirects) as http,
            Client(url, key, http=http, **options) as client,
        ):
            yield client
        return
    with asyncio.Runner() as runner:
        async_http = httpx.AsyncClient(verify=CERTIFICATES, follow_redirects=follow_redirects)
        try:
            found = _OnAsyncio(runner, AsyncClient(url, key, http=async_http, **options))
            yield cast(Client, found)
        finally:
            runner.run(async_http.aclose())
