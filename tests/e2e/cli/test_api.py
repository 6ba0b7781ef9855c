"""`seen api` and the API of `seen up`, as processes."""

from __future__ import annotations

import hashlib
import re
import signal
from pathlib import Path
from urllib.parse import unquote, urlsplit

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
            assert f"{url}/jsonrpc" in seen.printed
            call = {"id": 1, "method": "system.listMethods"}
            assert "aria2.addUri" in client.post("/jsonrpc", json=call).json()["result"]
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


def test_open_gives_a_browser_an_address_that_signs_in(
    tmp_path: Path, free_port: int, url: str
) -> None:
    """By a file, since all users see the arguments of programs. Without a browser it is printed."""
    notes = tmp_path / "opened"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {notes}\n')
    browser.chmod(0o700)
    with Seen(tmp_path, SEEN_API_PORT=str(free_port)) as seen:
        for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY"):
            seen.environment.pop(name, None)
        assert "No HTTP API runs here" in seen.run("open").error_line()
        seen.start("up", "--no-flower")
        wait_until(lambda: _answers(url), deadline=60, what="the API answers")
        tokens = [seen.good("open").out, seen.good("open", "--json").json()["url"]]
        seen.environment["BROWSER"] = str(browser)
        assert "as admin" in seen.good("open").err
        opened = wait_until(lambda: notes.is_file() and notes.read_text(), what="the browser runs")
        argument = str(opened).strip()
        assert "seen_link" not in argument
        document = Path(unquote(urlsplit(argument).path))
        assert document.stat().st_mode & 0o77 == 0
        tokens.append(document.read_text())
        for text in tokens:
            assert f"{url}/#/sign-in/" in text
            token = re.search(r"seen_link_\w+", text)
            assert token is not None
            answer = httpx.post(f"{url}/v1/session", json={"link_token": token[0]})
            assert answer.json()["user_id"] == "admin"
