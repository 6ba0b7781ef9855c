"""One API for each module: its tests use jobs of their own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

import worker.app
from domain.job import Job
from tasks.periodic.run_once import one_at_a_time
from tests.support.origins.origin import Origin
from tests.support.servers.webhook_receiver import WebhookReceiver
from tests.support.services.http_api import HttpApi, counted, http_api
from tests.support.services.running import run
from tests.support.stores.server import StoreServer
from worker.runtime import Runtime


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, _shared_store: StoreServer) -> Iterator[HttpApi]:
    """A served API on SQLite. Tests of its module must not take `store`, which would empty it."""
    with http_api(tmp_path_factory.mktemp("api"), _shared_store) as api:
        yield api


#: Of the files of a stage.
SIZE = 10_000


@dataclass
class Stage:
    """An API, and what jobs in it need."""

    api: HttpApi
    origin: Origin
    receiver: WebhookReceiver
    monkeypatch: pytest.MonkeyPatch

    @property
    def runtime(self) -> Runtime:
        return self.api.system.runtime

    def job(self, **fields: Any) -> Job:
        """Submit a job; fields of its file, then of the job as `job_…`."""
        own = {
            name.removeprefix("job_"): fields.pop(name) for name in list(fields) if "job_" in name
        }
        file = self.origin.serve(f"/{os.urandom(8).hex()}", size=SIZE, **fields)
        return self.api.system.submit(file.url, user_id="ada", **own)

    def run(self, **fields: Any) -> None:
        run(self.api.system, self.job(**fields))

    def get(self, path: str, user: str = "ada", *, method: str = "GET", **options: Any) -> None:
        self.api.client(user).request(method, path, **options)

    def read(self) -> dict[str, float]:
        return counted(self.api.client("vic").get("/metrics").text)

    def task(self, work: Callable[[Runtime], object], name: str = "a_task") -> None:
        work.__name__ = name
        self.monkeypatch.setitem(worker.app._runtimes, os.getpid(), self.runtime)
        one_at_a_time(work)()
