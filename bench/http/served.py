"""A system whose API is served by a process of its own, as `seen api` does."""

from __future__ import annotations

import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from bench.processes import cpu_seconds
from bench.recoveries.defaults import defaults
from domain.access import Principal
from tasks.api import accounts
from tests.support.servers.process import LOG_TAIL, Process, ServerError, spawn
from tests.support.services.system import ROOT, System
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until


@dataclass(frozen=True, slots=True)
class Served:
    """The system, and the process of its API."""

    system: System
    process: Process
    port: int

    @property
    def url(self) -> str:
        """Where the API listens."""
        return f"http://127.0.0.1:{self.port}"

    def new_key(self, user: str) -> str:
        """Return an API key of a new admin."""
        local, runtime = Principal.local(), self.system.runtime
        accounts.add_user(local, user, "admin", runtime=runtime)
        scopes = ["read", "submit", "control", "admin"]
        return accounts.create_key(local, user, scopes=scopes, runtime=runtime).secret

    def client(self, key: str) -> httpx.Client:
        """Return a client that signs in with a key."""
        headers = {"Authorization": f"Bearer {key}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60)

    def cpu_seconds(self) -> float:
        """Return the CPU time of the API's process."""
        return cpu_seconds(self.process.pid)

    def memory(self) -> int:
        """Return its resident bytes."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        (line,) = [one for one in lines if one.startswith("VmRSS:")]
        return int(line.split()[1]) * 1024


def wait_until_it_answers(process: Process, url: str, log: Path) -> None:
    """Return when the API at this URL answers.

    Raises:
        ServerError: its process has ended before; the message has the end of its log.
    """
    with httpx.Client(base_url=url) as client:  # one: each makes a context of TLS

        def answers() -> bool:
            status = process.poll()
            if status is not None:
                text = log.read_text(errors="replace")[-LOG_TAIL:]
                raise ServerError(f"The API has ended with status {status}, unanswered:\n{text}")
            try:
                return client.get("/healthz").status_code == 200
            except httpx.TransportError:
                return False

        wait_until(answers, deadline=60, what=f"the API answers; its log is {log}")


@contextmanager
def served(settings: Mapping[str, str] | None = None) -> Iterator[Served]:
    """Serve the API of a new system, without limits of requests."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    chosen = {
        **defaults(),
        "SEEN_API_PORT": str(port),
        "SEEN_USER_REQUESTS": "0",
        **(settings or {}),
    }
    with (
        tempfile.TemporaryDirectory(prefix="seen-api-") as name,
        StoreServer() as store,
        System(Path(name), store, settings=chosen) as system,
    ):
        command = [sys.executable, "-m", "api.server"]
        log = system.folder / "api.log"
        process = spawn(command, log=log, env=system.environment, cwd=ROOT)
        found = Served(system, process, port)
        try:
            wait_until_it_answers(process, found.url, log)
            yield found
        finally:
            process.terminate()
            process.wait(30)
