"""Many who watch many running downloads: how old what they see is, and what that costs the API."""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import time
from datetime import datetime

import tasks
from bench.http.served import Served, served
from bench.report import Figure, percentile, show
from domain.request import DownloadRequest
from tests.support.servers.nginx import Nginx
from tests.support.wait import wait_until

_RATE = 64 * 1024
#: Streams of one user: fewer than one process allows.
_STREAMS_OF_ONE = 90
#: Of so many streams the events are parsed; the others are only read.
_PARSED = 10


class Watcher:
    """Reads one stream."""

    def __init__(self, parses: bool) -> None:
        self._parses = parses
        self.ages: list[float] = []
        self.received = 0

    async def read(self, port: int, key: str, until: float) -> None:
        """Read events until this monotonic time."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 24)
        writer.write(
            f"GET /v1/events?limit=500 HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"Authorization: Bearer {key}\r\n\r\n".encode()
        )
        try:
            async with asyncio.timeout_at(asyncio.get_running_loop().time() + until):
                while data := (
                    await reader.readline() if self._parses else await reader.read(1 << 16)
                ):
                    self.received += len(data)
                    if data.startswith(b'data: {"downloads":[') and self._parses:
                        self._note(json.loads(data[6:]))
        except TimeoutError:
            pass
        finally:
            writer.close()

    def _note(self, event: dict[str, list[dict[str, str]]]) -> None:
        now = time.time()
        for download in event["downloads"]:
            # A whole download is of a snapshot; a running one has progressed a while ago.
            if "bytes_downloaded" in download and "url" not in download:
                self.ages.append(now - datetime.fromisoformat(download["updated_at"]).timestamp())


def main(arguments: list[str]) -> None:
    """Measure; see ``--help``."""
    parser = argparse.ArgumentParser(prog="python -m bench watch", description=__doc__)
    parser.add_argument("--watchers", type=int, default=1_000)
    parser.add_argument("--downloads", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 8192)), hard))
    size = int(_RATE * (options.seconds + 60))
    with served({"SEEN_HOST_CONNECTIONS": "0"}) as api, Nginx() as nginx:
        (nginx.root / "file").write_bytes(bytes(size))
        api.system.start_worker(concurrency=options.downloads)
        requests = [
            DownloadRequest(url=nginx.url(f"/file?{n}"), name=f"{n}", max_rate=_RATE)
            for n in range(options.downloads)
        ]
        tasks.submit_many(requests, runtime=api.system.runtime)
        wait_until(lambda: _running(api) == options.downloads, deadline=60, what="all run")
        figures = asyncio.run(_watch(api, options.watchers, options.seconds))
    show("watch", figures, as_json=options.json)


def _running(api: Served) -> int:
    return api.system.runtime.cache.download.totals().active


async def _watch(api: Served, watchers: int, seconds: float) -> list[Figure]:
    keys = [api.new_key(f"watcher{n}") for n in range(-(-watchers // _STREAMS_OF_ONE))]
    alone = api.memory()
    found = [Watcher(parses=n < _PARSED) for n in range(watchers)]
    reading = [
        asyncio.create_task(one.read(api.port, keys[n // _STREAMS_OF_ONE], seconds + 15))
        for n, one in enumerate(found)
    ]
    await asyncio.sleep(12)  # all are connected, and have their snapshots
    for one in found:
        one.ages.clear()
    before, began = api.cpu_seconds(), time.monotonic()
    await asyncio.sleep(seconds)
    cpu = (api.cpu_seconds() - before) / (time.monotonic() - began)
    memory = api.memory()
    await asyncio.gather(*reading)
    ages = [age for one in found for age in one.ages]
    served_all = sum(one.received > 0 for one in found)
    return [
        Figure("streams that got events", served_all, ""),
        Figure("from the flush of progress to a watcher: median", percentile(ages, 0.5), "s"),
        Figure("the same: p99", percentile(ages, 0.99), "s", "1"),
        Figure("CPU of the API", cpu * 100, "% of a core"),
        Figure("memory of the API", memory / 1e6, "MB"),
        Figure("memory a stream", max(0, memory - alone) / watchers / 1000, "kB"),
    ]
