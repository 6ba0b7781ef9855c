"""The examples of docs/cache.md, as they stand there."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from cache import AsyncStore, CacheManager
from domain.errors import LockTakenError, StoreUnavailableError
from domain.job import JobStatus
from tests.support.build import cache_settings, progress
from tests.support.origins.origin import Origin
from tests.support.stores.server import StoreServer

DOCUMENT = Path(__file__).parents[3] / "docs" / "cache.md"


def example(title: str) -> dict[str, Any]:
    """Run the code below a heading and return what it defines."""
    text = DOCUMENT.read_text(encoding="utf-8")
    block = re.search(rf"\n### {re.escape(title)}\n.*?```python\n(.*?)```", text, re.DOTALL)
    assert block is not None, title
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(block[1], f"{DOCUMENT.name}: {title}", "exec", dont_inherit=True), names)
    return names


def test_every_example_is_tried_here() -> None:
    titles = re.findall(r"\n### (.*)\n", DOCUMENT.read_text(encoding="utf-8"))
    tried = re.findall(r'example\("(.*?)"\)', Path(__file__).read_text(encoding="utf-8"))
    assert sorted(titles) == sorted(set(tried))


def test_the_first_lines_run(store: StoreServer, monkeypatch: pytest.MonkeyPatch) -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    block = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert block is not None
    monkeypatch.setattr("settings.load", lambda: cache_settings(store))
    names: dict[str, Any] = {}
    exec(compile(block[1], DOCUMENT.name, "exec", dont_inherit=True), names)
    assert names["found"] == "Hello"
    assert asyncio.run(names["main"]()) == "Hello"


def test_dashboard(manager: CacheManager) -> None:
    names = example("A dashboard with cache-aside")
    film, board = names["Film"], names["Dashboard"]
    built: list[str] = []

    def build(user_id: str) -> Any:
        built.append(user_id)
        return board(
            greeting=f"Hello {user_id}", films=[film(id="f-1", title=f"Take {len(built)}")]
        )

    show: Callable[[str], Any] = lambda user: names["dashboard"](manager, user, build)  # noqa: E731
    assert show("ada").films[0].title == show("ada").films[0].title == "Take 1"
    assert show("bob").greeting == "Hello bob"
    assert names["rename_film"](manager, "f-1") == 2
    assert names["rename_film"](manager, "f-2") == 0
    assert show("ada").films[0].title == "Take 3"
    assert built == ["ada", "bob", "ada"]


def test_session(private_store: StoreServer) -> None:
    names = example("A session in database and cache")
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE sessions (id TEXT PRIMARY KEY, body TEXT)")
    with CacheManager.connect(cache_settings(private_store)) as manager:
        session_id, token = names["create_session"](database, manager, "ada")
        found = names["find_session"](database, manager, session_id)
        assert found.user_id == "ada"
        assert found.accepts(token)
        assert not found.accepts(f"{token[:-1]}~")
        assert manager.counts().hits == 1

        manager.session.delete_session(session_id)
        assert names["find_session"](database, manager, session_id) == found
        assert manager.session.get_session(session_id) == found

        names["log_out"](database, manager, session_id)
        assert names["find_session"](database, manager, session_id) is None

        other, _ = names["create_session"](database, manager, "ada")
        private_store.kill()
        assert names["find_session"](database, manager, other).user_id == "ada"
        with pytest.raises(StoreUnavailableError):
            names["log_out"](database, manager, other)
    database.close()


def test_live_progress(manager: CacheManager) -> None:
    names = example("Live progress")
    for number, total in ((1, 1000), (2, None)):
        values = {"user_id": "ada", "bytes_downloaded": 455, "download_speed_mbps": 8.0}
        manager.download.set_progress(progress(f"job-{number}", bytes_total=total, **values))
    done = progress("job-3", user_id="bob", status=JobStatus.COMPLETED)
    manager.download.set_progress(done)
    lines = sorted(names["watch"](manager, "ada"))
    assert lines == [
        "2 active, 0.0 MB/s",
        "job-1 downloading  45.5 % 8.0 Mbit/s",
        "job-2 downloading   ?   % 8.0 Mbit/s",
    ]


def test_rate_limit_in_fastapi(private_store: StoreServer) -> None:
    names = example("A rate limit in FastAPI")
    asyncio.run(_ask_too_often(names, private_store))


async def _ask_too_often(names: dict[str, Any], store: StoreServer) -> None:
    async with CacheManager.connect_async(cache_settings(store)) as manager:
        app = _app(names, manager)
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            ada, bob = {"x-user-id": "ada"}, {"x-user-id": "bob"}
            answers = [await client.get("/films", headers=ada) for _ in range(names["LIMIT"])]
            assert {answer.status_code for answer in answers} == {200}
            assert answers[0].headers["RateLimit-Policy"] == '"default";q=100;w=60'
            assert answers[0].headers["RateLimit"] == '"default";r=99;t=60'

            refused = await client.get("/films", headers=ada)
            assert refused.status_code == 429
            assert refused.headers["content-type"] == "application/problem+json"
            assert refused.json()["status"] == 429
            assert 1 <= int(refused.headers["Retry-After"]) <= 60
            assert refused.headers["RateLimit"].startswith('"default";r=0;t=')

            assert (await client.get("/films", headers=bob)).status_code == 200
            store.kill()
            open_ = await client.get("/films", headers=ada)
            assert open_.status_code == 200
            assert "RateLimit" not in open_.headers


def _app(names: dict[str, Any], manager: CacheManager[AsyncStore]) -> FastAPI:
    app = FastAPI()
    names["limit_requests"](app, manager)

    @app.get("/films")
    async def films() -> list[str]:
        return []

    return app


def test_rate_limit_that_refuses_on_error(private_store: StoreServer) -> None:
    may_log_in = example("A rate limit that refuses on error")["may_log_in"]
    with CacheManager.connect(cache_settings(private_store)) as manager:
        assert [may_log_in(manager, "ada") for _ in range(6)] == [True] * 5 + [False]
        assert may_log_in(manager, "\ud800")
        private_store.kill()
        assert not may_log_in(manager, "bob")


def test_download_under_a_lock(manager: CacheManager, origin: Origin, tmp_path: Path) -> None:
    names = example("A download guarded by a lock")
    body = bytes(range(256)) * 10_000
    origin.serve("/film.mkv", body=body)
    target = tmp_path / "film.mkv"
    assert names["download_once"](manager, origin.url("/film.mkv"), target) is True
    assert target.read_bytes() == body
    assert names["download_once"](manager, origin.url("/film.mkv"), target) is False
    with manager.session.lock("fetch:film.mkv"), pytest.raises(LockTakenError):
        names["download_once"](manager, origin.url("/film.mkv"), target)
    assert len(origin.requests) == 1
