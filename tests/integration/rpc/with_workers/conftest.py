"""The whole service with aria2's JSON-RPC, once for each module, and files to download."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from tests.support.aria2 import SETTINGS
from tests.support.origins.origin import Origin
from tests.support.services.http_api import HttpApi, http_api
from tests.support.stores.server import StoreServer

#: Of the files.
SIZE = 300_000


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, _shared_store: StoreServer) -> Iterator[HttpApi]:
    """A served API with its workers."""
    with http_api(tmp_path_factory.mktemp("api"), _shared_store, settings=SETTINGS) as api:
        api.system.start_all(concurrency=4)
        yield api


@pytest.fixture
def files(origin: Origin) -> Mapping[str, str]:
    """The URLs of three files: one that comes at once, one that takes minutes, one that is missing."""
    return {
        "fast": origin.serve("/fast.bin", size=SIZE).url,
        "slow": origin.serve("/slow.bin", size=SIZE, bytes_per_second=2_000).url,
        "missing": origin.url("/missing.bin"),
    }
