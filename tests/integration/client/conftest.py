"""One API for each module, and both clients of it; and services that misbehave."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from seen_client import Client
from tests.support.clients.both import KINDS, client_of
from tests.support.clients.scripted_service import Reaction, Received, ScriptedService
from tests.support.services.http_api import HttpApi, http_api
from tests.support.stores.server import StoreServer


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, _shared_store: StoreServer) -> Iterator[HttpApi]:
    """A served API on SQLite. Tests of its module must not take `store`, which would empty it."""
    with http_api(tmp_path_factory.mktemp("api"), _shared_store) as api:
        yield api


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Of the client."""
    found: str = request.param
    return found


@pytest.fixture
def client(api: HttpApi, kind: str) -> Iterator[Client]:
    """Of the user Ada."""
    with client_of(kind, api.url, api.keys["ada"]) as client:
        yield client


Serve = Callable[[Callable[[Received], Reaction]], ScriptedService]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts services that answer as a function says."""
    with ExitStack() as opened:
        yield lambda react: opened.enter_context(ScriptedService(react))
