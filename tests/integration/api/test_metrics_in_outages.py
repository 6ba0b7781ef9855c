"""`/metrics` while the store is away. A module of its own: it stops the store of its API."""

from __future__ import annotations

from pathlib import Path

from tests.support.services.http_api import http_api, samples
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until


def test_part_that_fails_is_not_up_and_the_rest_is_read(tmp_path: Path, store: StoreServer) -> None:
    with http_api(tmp_path, store) as api:
        client = api.client("vic")
        api.system.runtime.cache.beat.tick("host:1")
        assert ("seen_beat_age_seconds", "") in samples(client.get("/metrics").text)
        store.stop()
        # What works is looked at once a second.
        wait_until(
            lambda: samples(client.get("/metrics").text)["seen_up", "store"] == 0, deadline=30
        )
        partly = samples(client.get("/metrics").text)
        assert partly["seen_up", "database"] == 1
        assert ("seen_jobs", "queued") in partly
        assert "seen_downloads_active" not in {name for name, _ in partly}
        assert "seen_http_requests_total" not in {name for name, _ in partly}
        store.start()
        wait_until(lambda: ("seen_slots", "") in samples(client.get("/metrics").text), deadline=30)
