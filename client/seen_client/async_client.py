"""The client for asyncio: the same methods as `Client`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from functools import wraps
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import httpx

from seen_client.operations import (
    accounts,
    control,
    downloads,
    files,
    submitting,
    watching,
    webhooks,
)
from seen_client.service import Service
from seen_client.steps import Emit, Flow, Open, Pause, Read, Step, Stream, Work
from seen_client.transport import LIMITS, Ended, advanced, built, head_of, no_answer

P = ParamSpec("P")
T = TypeVar("T")


def _call(
    operation: Callable[Concatenate[Service, P], Flow[T]],
) -> Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, T]]:
    """Return a method that runs an operation and returns its result."""

    @wraps(operation)
    async def method(client: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await client._run(operation(client._service, *args, **kwargs))

    return method


def _iterate(
    operation: Callable[Concatenate[Service, P], Stream[T]],
) -> Callable[Concatenate[AsyncClient, P], AsyncGenerator[T, None]]:
    """Return a method that runs an operation and yields its results."""

    @wraps(operation)
    def method(
        client: AsyncClient, /, *args: P.args, **kwargs: P.kwargs
    ) -> AsyncGenerator[T, None]:
        return client._iterate(operation(client._service, *args, **kwargs))

    return method


class AsyncClient:
    """A client of the HTTP API for asyncio; close it, or use it as a context manager.

    The arguments are those of `Client`; `http` is an `httpx.AsyncClient`. Put iterators that you may
    leave before their end into `contextlib.aclosing`, so that their connections are closed at once.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        timeout: float = 30.0,
        retry_for: float = 60.0,
        max_answer_bytes: int = 32 * 2**20,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        self._service = Service(url, key, timeout, retry_for, max_answer_bytes)
        self._is_own = http is None
        self._http = httpx.AsyncClient(limits=LIMITS) if http is None else http

    submit = _call(submitting.submit)
    submit_many = _call(submitting.submit_many)
    show = _call(downloads.show)
    history = _call(downloads.history)
    list = _iterate(downloads.list_downloads)
    totals = _call(downloads.totals)
    wait = _call(watching.wait)
    events = _iterate(watching.events)
    pause = _call(control.pause)
    resume = _call(control.resume)
    cancel = _call(control.cancel)
    retry = _call(control.retry)
    set_priority = _call(control.set_priority)
    delete = _call(control.delete)
    change_many = _call(control.change_many)
    limits = _call(control.limits)
    change_limits = _call(control.change_limits)
    fetch = _call(files.fetch)
    read_file = _iterate(files.read_file)
    sign_in = _call(accounts.sign_in)
    who_am_i = _call(accounts.who_am_i)
    refresh = _call(accounts.refresh)
    sign_out = _call(accounts.sign_out)
    sign_out_everywhere = _call(accounts.sign_out_everywhere)
    webhook = _call(webhooks.webhook)
    set_webhook = _call(webhooks.set_webhook)
    clear_webhook = _call(webhooks.clear_webhook)
    webhook_secret = _call(webhooks.webhook_secret)
    renew_webhook_secret = _call(webhooks.renew_webhook_secret)
    deliveries = _iterate(webhooks.deliveries)
    delivery = _call(webhooks.delivery)
    send_again = _call(webhooks.send_again)

    async def close(self) -> None:
        """Close all connections."""
        if self._is_own:
            await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._service.url!r})"

    async def _run(self, flow: Flow[T]) -> T:
        connection = _Connection(self._http, self._service)
        try:
            step: Step | Emit[T] | Ended[T] = advanced(flow, None)
            while not isinstance(step, Ended):
                step = await connection.advance(flow, step)
            return step.result
        finally:
            flow.close()
            await connection.close()

    async def _iterate(self, flow: Stream[T]) -> AsyncGenerator[T, None]:
        connection = _Connection(self._http, self._service)
        try:
            step: Step | Emit[T] | Ended[T] = advanced(flow, None)
            while not isinstance(step, Ended):
                if isinstance(step, Emit):
                    yield step.value
                    step = advanced(flow, None)
                else:
                    step = await connection.advance(flow, step)
        finally:
            flow.close()
            await connection.close()


class _Connection:
    """Does the steps of one flow; it has one open answer at most."""

    def __init__(self, http: httpx.AsyncClient, service: Service) -> None:
        self._http, self._service = http, service
        self._response: httpx.Response | None = None
        self._chunks: AsyncIterator[bytes] | None = None

    async def advance(
        self, flow: Flow[T] | Stream[T], step: Step | Emit[T]
    ) -> Step | Emit[T] | Ended[T]:
        """Do a step, and return the one that follows."""
        try:
            given = await self._do(step)
        except httpx.TransportError as error:
            return advanced(flow, None, no_answer(error, self._service))
        return advanced(flow, given)

    async def _do(self, step: Step | Emit[T]) -> object:
        match step:
            case Open(request):
                await self.close()
                made = built(self._http, self._service, request)
                self._response = await self._http.send(
                    made, stream=True, auth=None, follow_redirects=False
                )
                self._chunks = self._response.aiter_raw()
                return head_of(self._response)
            case Read():
                return b"" if self._chunks is None else await anext(self._chunks, b"")
            case Work(function):
                return await asyncio.to_thread(function)
            case Pause(seconds):
                await self.close()
                await asyncio.sleep(seconds)
        return None

    async def close(self) -> None:
        """Close the open answer."""
        if self._response is not None:
            await self._response.aclose()
            self._response = None
