"""One API with aria2's JSON-RPC for each module: its tests use jobs of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.aria2 import SETTINGS
from tests.support.services.http_api import HttpApi, http_api
from tests.support.stores.server import StoreServer


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, _shared_store: StoreServer) -> Iterator[HttpApi]:
    """A served API on SQLite. Tests of its module must not take `store`, which would empty it."""
    with http_api(tmp_path_factory.mktemp("api"), _shared_store, settings=SETTINGS) as api:
        yield api
