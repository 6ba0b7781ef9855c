"""`seen api` and the API of `seen up`, as processes."""

from __future__ import annotations

import hashlib
import re
import signal
from pathlib import Path

import httpx
import pytest

from tests.support.origins.origin import Origin
from tests.support.services.seen import Seen
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until


@pytest.fixture
def url(free_port: int) -> str:
    return f"http://127.0.0.1:{free_port}"


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz").status_code == 200
    except httpx.TransportError:
        return False


def test_up_serves_the_api_and_prints_how_to_sign_in_once(
    tmp_path: Path, free_port: int, url: str, origin: Origin
) -> None:
    file = origin.serve("/file.bin", size=100_000)
    with Seen(tmp_path, SEEN_API_PORT=str(free_port)) as seen:
        up = seen.start("up", "--no-flower")
        wait_until(lambda: _answers(url), deadline=60, what="the API answers")
        link = re.search(r"seen_link_\w+", seen.printed)
        assert link is not None
        with httpx.Client(base_url=url, timeout=60) as client:
            signed_in = client.post("/v1/session", json={"link_token": link[0]})
            assert signed_in.json()["role"] == "admin"
            body = {"url": file.url, "directory": "films"}
            job = client.post("/v1/downloads", json=body, headers={"Prefer": "wait=30"}).json()
            assert (job["status"], job["bytes_total"]) == ("completed", 100_000)
            content = client.get(f"/v1/downloads/{job['id']}/file").content
            assert hashlib.sha256(content).hexdigest() == job["sha256"]
            ready = wait_until(
                lambda: client.get("/readyz").json()["failed"] == [], deadline=60, what="ready"
            )
            assert ready
        stack = seen.wait_for_stack("api")
        assert stack["api_url"] == f"{url}/"
        up.send_signal(signal.SIGINT)
        up.wait(60)
        assert not _answers(url)


def test_several_processes_serve_one_port(tmp_path: Path, store: StoreServer, url: str) -> None:
    login = {"SEEN_CACHE_ADDR": store.addr, "SEEN_CACHE_PASSWORD": store.password}
    with Seen(tmp_path, **login) as seen:
        port = url.rpartition(":")[2]
        api = seen.start("api", "--port", port, "--processes", "2")
        wait_until(lambda: _answers(url), deadline=60, what="the API answers")
        assert "in use" in seen.run("api", "--port", port).error_line()
        api.send_signal(signal.SIGTERM)
        assert api.wait(30) == 0
        assert not _answers(url)
