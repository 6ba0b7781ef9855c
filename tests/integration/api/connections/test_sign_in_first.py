"""Who may not make a request is answered before its body is read, however large or slow that is."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from itertools import product
from typing import Any

import pytest

from api.app import openapi
from api.services import HttpLimits
from tests.support.services.http_api import HttpApi, http_api
from tests.support.stores.server import StoreServer

ID = "0197a2f0-3c5a-7d10-8b00-5f1c0a9e4d21"
#: Every route with a body that needs a sign-in; a test compares them with the OpenAPI document.
ROUTES = {
    ("POST", "/v1/downloads"): "submit",
    ("POST", "/v1/downloads/actions"): "control",
    ("PATCH", "/v1/downloads/{job_id}"): "control",
    ("PATCH", "/v1/limits"): "control",
    ("PUT", "/v1/webhook"): "control",
    ("POST", "/v1/users"): "admin",
    ("PATCH", "/v1/users/{name}"): "admin",
    ("POST", "/v1/keys"): None,
}
#: What comes of a body before the answer; the rest never comes.
BODIES = {
    "announced": "Content-Length: 30000\r\n\r\n",
    "begun": "Content-Length: 30000\r\n\r\n{",
    "larger than allowed": f"Content-Length: {10**18}\r\n\r\n" + "{",
    "in chunks": "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
    "to be asked for": "Expect: 100-continue\r\nContent-Length: 30000\r\n\r\n",
}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, _shared_store: StoreServer) -> Iterator[HttpApi]:
    """It would wait for a body much longer than a test for an answer."""
    limits = HttpLimits(body_bytes=40_000, body_seconds=600.0)
    settings = {"SEEN_ADDRESS_FAILURES": "1000"}
    folder = tmp_path_factory.mktemp("api")
    with http_api(folder, _shared_store, limits=limits, settings=settings) as api:
        yield api


def _answer(api: HttpApi, route: tuple[str, str], secret: str | None, rest: str) -> bytes:
    """Send the beginning of a request; return its answer's first bytes."""
    method, path = route
    path = path.replace("{job_id}", ID).replace("{name}", "ada")
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    if secret is not None:
        head += f"Authorization: Bearer {secret}\r\n"
    with closing(socket.create_connection(("127.0.0.1", api.port), timeout=60)) as connection:
        connection.sendall((head + rest).encode())
        return connection.recv(65536)


@pytest.mark.parametrize(("route", "what"), [*product(ROUTES, BODIES)])
def test_without_a_valid_sign_in_no_body_is_read(
    api: HttpApi, route: tuple[str, str], what: str
) -> None:
    for secret in (None, "seen_aaaaaaaa_wrong"):
        answer = _answer(api, route, secret, BODIES[what])
        assert answer.startswith(b"HTTP/1.1 401 "), (secret, answer)


@pytest.mark.parametrize("route", [route for route, scope in ROUTES.items() if scope])
def test_without_the_scope_no_body_is_read(api: HttpApi, route: tuple[str, str]) -> None:
    answer = _answer(api, route, api.keys["vic"], BODIES["begun"])
    assert answer.startswith(b"HTTP/1.1 403 "), answer


def test_who_may_is_asked_for_the_body(api: HttpApi) -> None:
    for route in ROUTES:
        answer = _answer(api, route, api.keys["root"], BODIES["to be asked for"])
        assert answer.startswith(b"HTTP/1.1 100 "), (route, answer)


def test_the_connection_serves_a_next_request_after_a_refused_one(api: HttpApi) -> None:
    """What still comes of the refused body is left out."""
    head = "POST /v1/downloads HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20000\r\n\r\n"
    with closing(socket.create_connection(("127.0.0.1", api.port), timeout=60)) as connection:
        connection.sendall(head.encode())
        assert connection.recv(65536).startswith(b"HTTP/1.1 401 ")
        connection.sendall(b"x" * 20_000 + b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        received = b""
        while b"HTTP/1.1 " not in received:  # the rest of the first answer may come before
            part = connection.recv(65536)
            assert part, received
            received += part
        assert b"HTTP/1.1 200 " in received


def test_the_table_has_every_route(api: HttpApi) -> None:
    document: dict[str, Any] = openapi(api.app)
    found = {
        (method.upper(), path)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if "requestBody" in operation and "security" in operation
    }
    assert found == set(ROUTES)
