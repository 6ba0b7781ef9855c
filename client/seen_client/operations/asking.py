"""Requests with a JSON answer, which most operations are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from seen_client.decoding import decoded, json_of
from seen_client.encoding import body_of
from seen_client.repeating import answer_of
from seen_client.service import Service
from seen_client.steps import Flow, Request

T = TypeVar("T")


def get(
    service: Service, path: str, model: type[T], parameters: Iterable[tuple[str, str]] = ()
) -> Flow[T]:
    """Read something."""
    request = Request("GET", path, tuple(parameters), is_repeatable=True)
    return (yield from asked(service, request, model))


def change(
    service: Service,
    method: str,
    path: str,
    model: type[T],
    body: object = None,
    *,
    is_repeatable: bool = False,
) -> Flow[T]:
    """Change something, and return what it is then."""
    content = None if body is None else body_of(body)
    request = Request(method, path, body=content, is_repeatable=is_repeatable)
    return (yield from asked(service, request, model))


def end(
    service: Service, method: str, path: str, parameters: Iterable[tuple[str, str]] = ()
) -> Flow[None]:
    """Do what has no result."""
    yield from answer_of(service, Request(method, path, tuple(parameters)))


def asked(service: Service, request: Request, model: type[T]) -> Flow[T]:
    """Send a request and return its answer as a model."""
    answer = yield from answer_of(service, request)
    return decoded(model, json_of(answer.body))


def given(**parameters: object) -> tuple[tuple[str, str], ...]:
    """Return the parameters of a query that are not None; one that is a sequence comes several times."""
    return tuple(
        (name, str(one))
        for name, value in parameters.items()
        if value is not None
        for one in (value if isinstance(value, tuple | list | frozenset | set) else (value,))
    )
