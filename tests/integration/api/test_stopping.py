"""How the server of the API stops. A module of its own: its API is not shared."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.integration.api.test_events import events_of
from tests.support.services.http_api import http_api
from tests.support.stores.server import StoreServer


def test_server_that_stops_ends_streams(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It does not wait until its time for running requests is over."""
    with StoreServer() as store, ExitStack() as stack:
        with http_api(tmp_path, store) as api:
            client = stack.enter_context(api.new_client(headers=api.headers("ada")))
            answer = stack.enter_context(client.stream("GET", "/v1/events"))
            events = events_of(answer)
            next(events)
        assert list(events) == []
    assert "graceful shutdown exceeded" not in caplog.text
