"""The HTTP API on a port of this process, with users of each role, and a client for each of them."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import func, select

from api.app import create_app
from api.events.hub import EventHub
from api.server import Server, config
from api.services import HttpLimits, Services
from database.models import job_events, jobs
from domain.access import Principal
from domain.job import Job
from tasks.api import accounts
from tests.support.services.system import System
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until
from worker.process import listening

#: Who makes requests in tests: a name, and its role. Eve is a user who has none of the jobs.
USERS: Mapping[str, str] = {"root": "admin", "ada": "user", "eve": "user", "vic": "viewer"}


#: For clients of httpx, which would each make one: that takes longer than most tests.
CERTIFICATES = ssl.create_default_context()
_ALL = ("read", "files", "submit", "control")
#: Headers and logins of jobs are stored with a key.
_SETTINGS = {"SEEN_SECRET_KEY": "a key of the tests alone"}


class HttpApi:
    """A served API.

    Attributes:
        system: its store, database and folder.
        services: of the application.
        app: the application.
        url: where it listens.
        keys: an API key for each of `USERS`.
    """

    def __init__(self, system: System, limits: HttpLimits | None = None) -> None:
        self.system = system
        self.services = Services.of(system.runtime, limits)
        self.app = create_app(self.services)
        self.listener = listening.listen("127.0.0.1", 0)
        self.port = int(self.listener.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.keys = dict(self._make_users())
        self._clients: dict[str, httpx.Client] = {}

    def _make_users(self) -> Iterator[tuple[str, str]]:
        local, runtime = Principal.local(), self.system.runtime
        for name, role in USERS.items():
            accounts.add_user(local, name, role, runtime=runtime)
            yield name, self.new_key(name, ["admin", *_ALL] if role == "admin" else ())

    def new_key(self, user: str, scopes: Sequence[str] = ()) -> str:
        """Return a new key of a user; without scopes with those that its role has."""
        local, runtime = Principal.local(), self.system.runtime
        return accounts.create_key(local, user, scopes=scopes, runtime=runtime).secret

    def headers(self, user: str) -> dict[str, str]:
        """Return the headers with which a user signs in."""
        return {"Authorization": f"Bearer {self.keys[user]}"}

    def client(self, user: str = "") -> httpx.Client:
        """Return the client of a user; "" is one that has not signed in."""
        if user not in self._clients:
            headers = self.headers(user) if user else {}
            self._clients[user] = self.new_client(headers=headers)
        return self._clients[user]

    def new_client(self, **options: Any) -> httpx.Client:
        """Return a client of its own, without sign-in; close it."""
        return httpx.Client(base_url=self.url, timeout=30, verify=CERTIFICATES, **options)

    def written(self) -> Sequence[int]:
        """Return what changes with each write to jobs: their number, events, and controls."""
        with self.system.runtime.database.read() as connection:
            counts = [
                connection.execute(select(func.count()).select_from(table)).scalar()
                for table in (jobs, job_events)
            ]
            pending = select(func.count()).where(jobs.c.control.is_not(None))
            return [int(one or 0) for one in (*counts, connection.execute(pending).scalar())]

    def job_of(self, user: str, path: str, **fields: object) -> Job:
        """Submit a job of a user; no worker runs it."""
        return self.system.submit(f"http://127.0.0.1:9/{path}", user_id=user, **fields)

    @property
    def hub(self) -> EventHub:
        """The hub of the served application."""
        found: EventHub = self.server.lifespan.state["hub"]
        return found

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Serve it meanwhile, by uvicorn as `seen api` does."""
        server = self.server = Server(config(self.app))
        run: Callable[[], None] = lambda: server.run(sockets=[self.listener])  # noqa: E731
        thread = threading.Thread(target=run, name="api")
        thread.start()
        try:
            wait_until(lambda: server.started, deadline=30, what="the API listens")
            yield
        finally:
            for client in self._clients.values():
                client.close()
            server.should_exit = True
            thread.join(timeout=30)
            assert not thread.is_alive()


@contextmanager
def http_api(
    folder: Path,
    store: StoreServer,
    *,
    limits: HttpLimits | None = None,
    settings: Mapping[str, str] | None = None,
) -> Iterator[HttpApi]:
    """Serve an API with a system of its own."""
    store.start()
    store.flush()
    with System(folder, store, settings={**_SETTINGS, **(settings or {})}) as system:
        api = HttpApi(system, limits)
        with api.serving():
            yield api


def counted(text: str) -> dict[str, float]:
    """Return each sample of metrics by its name and the values of its labels, by the names of these."""
    return {
        " ".join([sample.name, *(value or "-" for value in sample.labels.values())]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def samples(text: str) -> dict[tuple[str, str], float]:
    """Return each sample of metrics by its name and the value of its label."""
    return {
        (sample.name, next(iter(sample.labels.values()), "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
