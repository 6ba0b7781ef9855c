"""Requests to the API: submits one by one and by 500, lists and snapshots beside few and many jobs."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx

from bench.http.served import served
from bench.report import Figure, percentile, show
from bench.scale.jobs import Numbers, fill, settle

FEW, MANY = 100, 100_000
_LISTS = 200
_CALLERS = 8


def main(arguments: list[str]) -> None:
    """Measure; see ``--help``."""
    parser = argparse.ArgumentParser(prog="python -m bench api", description=__doc__)
    parser.add_argument("--singly", type=int, default=600, help="submits of one job")
    parser.add_argument("--bulks", type=int, default=20, help="submits of 500 jobs")
    parser.add_argument("--jobs", type=int, default=MANY, help="jobs that lists look through")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    figures = _submits(options.singly, options.bulks)
    for jobs in (FEW, options.jobs):
        figures += _reads(jobs)
    show("api", figures, as_json=options.json)


def _submits(singly: int, bulks: int) -> list[Figure]:
    with served() as api, api.client(api.new_key("bench")) as client:

        def one(number: int) -> None:
            _post(client, _body(f"single/{number}"))

        def many(number: int) -> None:
            _post(client, {"downloads": [_body(f"bulk/{number}/{m}") for m in range(500)]})

        one(-1)
        many(-1)
        before = api.cpu_seconds()
        began = time.monotonic()
        with ThreadPoolExecutor(_CALLERS) as callers:
            alone = list(callers.map(lambda n: _time_of(one, n), range(singly)))
        elapsed = time.monotonic() - began
        cpu = (api.cpu_seconds() - before) / singly
        in_bulk = _timed(many, bulks)
        return [
            Figure(
                f"submits a second, one job each, {_CALLERS} callers",
                singly / elapsed,
                "1/s",
                "300",
            ),
            Figure("their p99", percentile(alone, 0.99) * 1000, "ms"),
            Figure("CPU of the API for one", cpu * 1000, "ms"),
            Figure("jobs a second, 500 a submit", 500 * bulks / sum(in_bulk), "1/s", "4,000"),
        ]


def _reads(jobs: int) -> list[Figure]:
    """Measure lists and snapshots of one user's and of all jobs, nine of ten of them finished."""
    numbers = Numbers(ended=jobs * 9 // 10, queued=jobs // 10, waiting=0, paused=0, running=0)
    with served() as api, api.client(api.new_key("bench")) as client:
        fill(api.system.runtime.database, numbers, now=api.system.runtime.now())
        settle(api.system.runtime.database)
        aim = "50" if jobs >= MANY else None
        paths = {
            "list of the newest": "/v1/downloads",
            "list of failed ones of a host": "/v1/downloads?state=failed&host=host0.example.com",
            "search": "/v1/downloads?search=nothing-has-this",
            "totals": "/v1/totals",
        }
        figures = []
        for what, path in paths.items():
            times = _timed(lambda _, path=path: _get(client, path), _LISTS)  # type: ignore[misc]
            figures.append(
                Figure(f"{what}, {jobs:,} jobs: p99", percentile(times, 0.99) * 1000, "ms", aim)
            )
        times = _timed(lambda _: _snapshot(client), 50)
        what = f"first event of a stream (snapshot), {jobs:,} jobs: median"
        return [*figures, Figure(what, percentile(times, 0.5) * 1000, "ms")]


def _timed(work: Callable[[int], None], times: int) -> list[float]:
    return [_time_of(work, number) for number in range(times)]


def _time_of(work: Callable[[int], None], number: int) -> float:
    began = time.monotonic()
    work(number)
    return time.monotonic() - began


def _body(path: str) -> dict[str, str]:
    return {"url": f"https://media.example.com/{path}.ts", "directory": "bench"}


def _post(client: httpx.Client, body: object) -> None:
    client.post("/v1/downloads", json=body).raise_for_status()


def _get(client: httpx.Client, path: str) -> None:
    client.get(path).raise_for_status()


def _snapshot(client: httpx.Client) -> None:
    with client.stream("GET", "/v1/events") as answer:
        for line in answer.iter_lines():
            if line.startswith("data:"):
                return
