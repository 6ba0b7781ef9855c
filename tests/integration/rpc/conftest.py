"""One API with aria2's JSON-RPC for each module: its tests use jobs of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.aria2 import SETTINGS
from tests.support.services.http_api import HttpApi, http_api
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, _shared_store: StoreServer) -> Iterator[HttpApi]:
    """A served API on SQLite. Tests of its module must not take `store`, which would empty it."""
    with http_api(tmp_path_factory.mktemp("api"), _shared_store, settings=SETTINGS) as api:
        yield api


@pytest.fixture(autouse=True)
def _no_sockets_of_other_tests(api: HttpApi) -> None:
    """Wait until the service has noticed that the clients of the test before have gone."""
    notifier = getattr(api.app.state, "rpc_notifier", None)
    if notifier is not None:
        wait_until(lambda: not notifier.sockets, deadline=60, what="no socket is left")
