"""What both clients share: how a flow goes on, what httpx is given, and what its errors mean."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import httpx

from seen_client.errors import NoAnswerError
from seen_client.service import Service
from seen_client.steps import Emit, Flow, Head, Request, Step, Stream

T = TypeVar("T")

#: Streams stay open, so no call may wait until another connection is free.
LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=20)
_AGENT = "seen-client"
#: The request has not left this machine.
_UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)


@dataclass(frozen=True, slots=True)
class Ended(Generic[T]):
    """A flow has ended with this result."""

    result: T


def advanced(
    flow: Flow[T] | Stream[T], given: object, error: Exception | None = None
) -> Step | Emit[T] | Ended[Any]:
    """Let a flow go on with what its step has given, or an error; return its next step, or its end."""
    try:
        return flow.send(given) if error is None else flow.throw(error)
    except StopIteration as end:
        return Ended(end.value)


def built(
    http: httpx.Client | httpx.AsyncClient, service: Service, request: Request
) -> httpx.Request:
    """Return a request as httpx sends it. No cookie goes along, and nothing may come compressed."""
    headers = {
        "Accept": f"{request.accept}, application/problem+json",
        "Accept-Encoding": "identity",
        "User-Agent": _AGENT,
        **({"Authorization": f"Bearer {service.key}"} if service.key is not None else {}),
        **({"Content-Type": "application/json"} if request.body is not None else {}),
        **request.headers,
    }
    timeout = httpx.Timeout(service.timeout, read=request.read_timeout or service.timeout)
    made = http.build_request(
        request.method,
        service.url + request.path,
        params=list(request.parameters) or None,
        content=request.body,
        headers=headers,
        timeout=timeout,
    )
    made.headers.pop("Cookie", None)
    return made


def head_of(response: httpx.Response) -> Head:
    """Return the head of a response."""
    return Head(response.status_code, {name.lower(): one for name, one in response.headers.items()})


def no_answer(error: httpx.TransportError, service: Service) -> NoAnswerError:
    """Return what an error of httpx means."""
    is_final = isinstance(error, httpx.UnsupportedProtocol) or _is_about_certificate(error)
    what = str(error) or "no answer in time"
    return NoAnswerError(
        f"{service.url} does not answer: {type(error).__name__}: {what[:500]}.",
        isinstance(error, _UNSENT),
        is_final,
    )


def _is_about_certificate(error: BaseException | None) -> bool:
    """Return whether a certificate was refused: here, or where httpx has it from."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False
