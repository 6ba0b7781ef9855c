"""The blocking client."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from functools import wraps
from types import TracebackType
from typing import Concatenate, ParamSpec, Self, TypeVar

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
) -> Callable[Concatenate[Client, P], T]:
    """Return a method that runs an operation and returns its result."""

    @wraps(operation)
    def method(client: Client, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return client._run(operation(client._service, *args, **kwargs))

    return method


def _iterate(
    operation: Callable[Concatenate[Service, P], Stream[T]],
) -> Callable[Concatenate[Client, P], Generator[T, None, None]]:
    """Return a method that runs an operation and yields its results."""

    @wraps(operation)
    def method(client: Client, /, *args: P.args, **kwargs: P.kwargs) -> Generator[T, None, None]:
        return client._iterate(operation(client._service, *args, **kwargs))

    return method


class Client:
    """A client of the HTTP API. Threads may share it; close it, or use it as a context manager.

    Args:
        url: of the service, such as ``https://downloads.example.org``.
        key: an API key, or the token of a session; None before `sign_in`.
        timeout: seconds for a connection, and without a byte of an answer.
        retry_for: seconds for which calls are repeated that may be (README.md has the table).
        max_answer_bytes: of an answer, or of an event.
        http: a client of your own, with other certificates, proxies or limits; close it yourself.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        timeout: float = 30.0,
        retry_for: float = 60.0,
        max_answer_bytes: int = 32 * 2**20,
        http: httpx.Client | None = None,
    ) -> None:
        self._service = Service(url, key, timeout, retry_for, max_answer_bytes)
        self._is_own = http is None
        self._http = httpx.Client(limits=LIMITS) if http is None else http

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

    def close(self) -> None:
        """Close all connections."""
        if self._is_own:
            self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._service.url!r})"

    def _run(self, flow: Flow[T]) -> T:
        connection = _Connection(self._http, self._service)
        try:
            step: Step | Emit[T] | Ended[T] = advanced(flow, None)
            while not isinstance(step, Ended):
                step = connection.advance(flow, step)
            return step.result
        finally:
            flow.close()
            connection.close()

    def _iterate(self, flow: Stream[T]) -> Generator[T, None, None]:
        connection = _Connection(self._http, self._service)
        try:
            step: Step | Emit[T] | Ended[T] = advanced(flow, None)
            while not isinstance(step, Ended):
                if isinstance(step, Emit):
                    yield step.value
                    step = advanced(flow, None)
                else:
                    step = connection.advance(flow, step)
        finally:
            flow.close()
            connection.close()


class _Connection:
    """Does the steps of one flow; it has one open answer at most."""

    def __init__(self, http: httpx.Client, service: Service) -> None:
        self._http, self._service = http, service
        self._response: httpx.Response | None = None
        self._chunks: Iterator[bytes] = iter(())

    def advance(self, flow: Flow[T] | Stream[T], step: Step | Emit[T]) -> Step | Emit[T] | Ended[T]:
        """Do a step, and return the one that follows."""
        try:
            given = self._do(step)
        except httpx.TransportError as error:
            return advanced(flow, None, no_answer(error, self._service))
        return advanced(flow, given)

    def _do(self, step: Step | Emit[T]) -> object:
        match step:
            case Open(request):
                self.close()
                made = built(self._http, self._service, request)
                self._response = self._http.send(
                    made, stream=True, auth=None, follow_redirects=False
                )
                self._chunks = self._response.iter_raw()
                return head_of(self._response)
            case Read():
                return next(self._chunks, b"")
            case Work(function):
                return function()
            case Pause(seconds):
                self.close()
                time.sleep(seconds)
        return None

    def close(self) -> None:
        """Close the open answer."""
        if self._response is not None:
            self._response.close()
            self._response = None
