"""Jobs accepted in bulk: `submit_many` on SQLite and PostgreSQL, to a broker that no worker reads."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import tasks
from bench.report import Figure
from domain.request import DownloadRequest
from tests.support.servers.postgres import PostgresServer
from tests.support.services.system import System
from tests.support.stores.server import StoreServer

#: Jobs a call, and calls.
BULKS = ((1_000, 5), (10_000, 2))


def accepting(store: StoreServer) -> list[Figure]:
    """Measure both databases; the requests are made within the time, as a caller has to."""
    figures = []
    for kind in ("SQLite", "PostgreSQL"):
        with tempfile.TemporaryDirectory(prefix="seen-accept-") as name, PostgresServer() as server:
            url = server.create_database() if kind == "PostgreSQL" else None
            with System(Path(name), store, database_url=url) as system:
                for size, rounds in BULKS:
                    figures += _bulk(system, kind, size, rounds)
            store.flush()  # these messages are for no worker
    return figures


def _bulk(system: System, kind: str, size: int, rounds: int) -> list[Figure]:
    _submit(system, f"warm-{size}", 100)
    elapsed, cpu = time.monotonic(), time.process_time()
    for number in range(rounds):
        _submit(system, f"{size}-{number}", size)
    elapsed, cpu = time.monotonic() - elapsed, time.process_time() - cpu
    jobs = size * rounds
    what = f"in bulk, {kind}, {size:,} a call"
    return [
        Figure(f"jobs accepted a second {what}", jobs / elapsed, "1/s", "5,000"),
        Figure(f"CPU of the caller a job {what}", cpu / jobs * 1000, "ms", "0.2"),
    ]


def _submit(system: System, name: str, count: int) -> None:
    requests = [
        DownloadRequest(url=f"https://media.example.com/{name}/{number}.ts", directory=name)
        for number in range(count)
    ]
    jobs = tasks.submit_many(requests, runtime=system.runtime)
    assert all(job.published_at is not None and job.is_new for job in jobs)
