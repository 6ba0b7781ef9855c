"""An API whose downloads run, for the examples of its pages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.services.http_api import HttpApi, http_api
from tests.support.services.running import queued_jobs_run
from tests.support.stores.server import StoreServer


@pytest.fixture
def running_api(
    tmp_path: Path, store: StoreServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[HttpApi]:
    """Its address and the key of an admin are in the environment; the current folder is an empty one."""
    with http_api(tmp_path / "api", store) as api, queued_jobs_run(api.system):
        monkeypatch.setenv("SEEN_URL", api.url)
        monkeypatch.setenv("SEEN_KEY", api.keys["root"])
        (tmp_path / "here").mkdir()
        monkeypatch.chdir(tmp_path / "here")
        yield api
