"""docs/cache-from-go.md: its five examples on both sides of the cache, and its table of tests."""

from __future__ import annotations

import ast
import asyncio
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import Depends, FastAPI

from cache import CacheManager, DownloadProgress, SessionData
from tests.support.bridge import AsyncSide
from tests.support.build import cache_manager, cache_settings, progress
from tests.support.stores.server import StoreServer

ROOT = Path(__file__).parents[3]
DOCUMENT = ROOT / "docs" / "cache-from-go.md"
TESTS = ROOT / "tests" / "integration" / "cache" / "seed"


@pytest.fixture(params=["sync", "async"])
def cache(request: pytest.FixtureRequest, store: StoreServer) -> Iterator[CacheManager]:
    with ExitStack() as stack:
        if request.param == "sync":
            yield stack.enter_context(cache_manager(store))
        else:
            yield stack.enter_context(AsyncSide()).manager(cache_settings(store))


def example(number: int) -> dict[str, Any]:
    """Run the code of one example and return what it defines."""
    text = DOCUMENT.read_text(encoding="utf-8")
    block = re.search(rf"\n## Example {number}: .*?```python\n(.*?)```", text, re.DOTALL)
    assert block is not None
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(block[1], f"{DOCUMENT.name}: {number}", "exec", dont_inherit=True), names)
    return names


def test_the_table_names_each_test_and_only_tests_there_are() -> None:
    table = (
        DOCUMENT.read_text(encoding="utf-8").partition("## Line by line")[2].partition("\n## ")[0]
    )
    named = set(re.findall(r"`(test_\w+)`", table))
    defined = {
        node.name
        for path in TESTS.glob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }
    # Two tests are about Python alone.
    assert defined - named == {
        "test_the_forms_of_an_entry_share_its_key",
        "test_types_reach_the_callers_editor",
    }
    assert named <= defined


def test_example_1_dashboard(cache: CacheManager) -> None:
    names = example(1)
    built: list[str] = []

    def build(user_id: str) -> Any:
        built.append(user_id)
        return names["Dashboard"](films=["Neon"])

    handler = names["CatalogHandler"](cache, build)
    assert (
        handler.dashboard("ada") == handler.dashboard("ada") == names["Dashboard"](films=["Neon"])
    )
    assert built == ["ada"]


def test_example_2_sessions(cache: CacheManager) -> None:
    database: list[SessionData] = []
    service = example(2)["AuthService"](cache, database.append)
    session, token = service.create_session("ada")
    assert cache.session.get_session(session.session_id) == session == database[0]
    assert token not in session.model_dump_json()
    assert service.refresh(session.session_id, token)
    assert not service.refresh(session.session_id, f"{token}x")
    assert not service.refresh("\ud800", token)


def test_example_3_progress(cache: CacheManager) -> None:
    persisted: list[DownloadProgress] = []
    worker = example(3)["DownloadWorker"](cache, persisted.append)
    worker.update_progress("job-1", 5)  # there is no such job: nothing happens
    cache.download.set_progress(progress("job-1", fence=0))
    for _ in range(25):
        worker.update_progress("job-1", 1024 * 1024)
    assert [one.bytes_downloaded >> 20 for one in persisted] == [10, 20]


def test_example_4_rate_limit(private_store: StoreServer) -> None:
    with CacheManager.connect(cache_settings(private_store)) as cache:
        app = FastAPI(dependencies=[Depends(example(4)["rate_limit"](cache))])

        @app.get("/films")
        async def films() -> list[str]:
            return []

        async def statuses(count: int, user: str) -> list[int]:
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                headers = {"x-user-id": user}
                answers = [await client.get("/films", headers=headers) for _ in range(count)]
            for answer in answers:
                if answer.status_code == 429:
                    assert answer.json() == {"detail": "rate limit exceeded"}
                    assert 1 <= int(answer.headers["Retry-After"]) <= 60
            return [answer.status_code for answer in answers]

        assert asyncio.run(statuses(101, "ada")) == [200] * 100 + [429]
        assert asyncio.run(statuses(1, "x" * 5000)) == [200]
        private_store.kill()
        assert asyncio.run(statuses(1, "bob")) == [429]


def test_example_5_lock(cache: CacheManager) -> None:
    processed: list[str] = []
    names = example(5)

    def process(job_id: str) -> None:
        processed.append(job_id)
        with pytest.raises(RuntimeError, match="already in progress"):
            names["DownloadService"](cache, processed.append).start_download(job_id)

    service = names["DownloadService"](cache, process)
    service.start_download("job-1")
    service.start_download("job-1")
    assert processed == ["job-1", "job-1"]
    assert cache.client.exists("seen:lock:download:job-1") == 0
