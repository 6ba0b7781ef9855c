"""Every program of a person finds the local stack that runs, and says which it is."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from seen_local import stack_state
from tests.support.origins.origin import Origin
from tests.support.servers.process import Process, free_port
from tests.support.services.seen import Seen
from tests.support.services.system import ROOT
from tests.support.wait import wait_until

SUBMIT = """
import logging, sys
logging.basicConfig(level=logging.INFO, format="%(message)s")
from tasks import DownloadRequest, submit
print(submit(DownloadRequest(url=sys.argv[1])).published_at is not None)
"""


#: What a cache wrote before `submit` is read after it, and the other way round; a given address wins.
CACHE = """
import asyncio, logging, sys
logging.basicConfig(level=logging.INFO, format="%(message)s")
from datetime import timedelta
from cache import CacheManager
from settings import Settings, load
from tasks import DownloadRequest, submit

async def get_async(key):
    async with CacheManager.connect_async(load(), require_store=True) as manager:
        return await manager.service.get(key, str)

with CacheManager.connect(load(), require_store=True) as first:
    first.service.set("seen:before", "1", timedelta(minutes=1))
    print(asyncio.run(get_async("seen:before")))
    submit(DownloadRequest(url=sys.argv[1]))
    with CacheManager.connect(load(), require_store=True) as second:
        print(second.service.get("seen:before", str))
        second.service.set("seen:after", "2", timedelta(minutes=1))
        print(first.service.get("seen:after", str), asyncio.run(get_async("seen:after")))
with CacheManager.connect(Settings(cache_addr=sys.argv[2])) as elsewhere:
    print(elsewhere.service.get("seen:after", str))
"""


@pytest.fixture
def seen(tmp_path: Path) -> Iterator[Seen]:
    with Seen(tmp_path) as person:
        yield person


def python(seen: Seen, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in the folder of the program, where `tasks` and `worker` can be imported."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=seen.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def inspect(seen: Seen) -> subprocess.CompletedProcess[str]:
    return python(seen, "-m", "celery", "-A", "worker.app", "inspect", "ping", "--json")


def test_every_program_finds_the_running_stack(seen: Seen, origin: Origin) -> None:
    up = seen.start("up", "--no-flower", "--no-api")
    seen.wait_for_stack("downloads", "maintenance")
    log = seen.data_dir / "logs/maintenance.log"
    wait_until(lambda: "ready." in log.read_text(), deadline=60)
    check_it_is_used_and_named(seen, up, origin)
    check_the_cache_uses_it(seen, up, origin)
    check_another_version_is_refused(seen, up)


def check_it_is_used_and_named(seen: Seen, up: Process, origin: Origin) -> None:
    endless = origin.serve("/endless.bin", size=10**9, bytes_per_second=10**5)
    which = f"the local stack of `seen up` (process {up.pid}, since "

    submitted = python(seen, "-c", SUBMIT, endless.url)
    assert submitted.stdout == "True\n", submitted
    assert f"Using {which}" in submitted.stderr
    wait_until(lambda: seen.good("list", "--status", "downloading", "--json").json(), deadline=30)

    pinged = inspect(seen)
    assert any(name.startswith("downloads-") for name in json.loads(pinged.stdout)), pinged
    assert pinged.stderr.startswith(f"seen: using {which}")

    got = seen.good("get", origin.serve("/a.bin", body=b"abc").url, "--json")
    assert got.err.startswith(f"seen: using {which}")
    assert f"in {ROOT}); before this: 1 running, 0 queued\n" in got.err
    assert got.json()[0]["priority"] == "high"
    assert not seen.good("list").err, "without a terminal, only the result is printed"


def check_the_cache_uses_it(seen: Seen, up: Process, origin: Origin) -> None:
    url = origin.serve("/b.bin", body=b"abc").url
    program = python(seen, "-c", CACHE, url, f"127.0.0.1:{free_port()}")
    assert program.stdout == "1\n1\n2 2\nNone\n", program
    assert program.stderr.count(f"Using the local stack of `seen up` (process {up.pid}, ") == 1


def check_another_version_is_refused(seen: Seen, up: Process) -> None:
    state = stack_state.running(seen.data_dir)
    assert state is not None
    stack_state.write(seen.data_dir, replace(state, version="0.0.1", root="/old"))
    refusal = f"(process {up.pid}, since "
    for arguments in (("get", "http://127.0.0.1:9/a"), ("add", "http://127.0.0.1:9/a"), ("list",)):
        result = seen.run(*arguments)
        assert result.status == 2, result
        assert refusal in result.error_line()
        assert "version 0.0.1 in /old" in result.error_line()
    pinged = inspect(seen)
    assert (pinged.returncode, pinged.stdout) == (1, "")
    assert refusal in pinged.stderr
    assert "Traceback" not in pinged.stderr
    findings = {one["check"]: one for one in seen.run("doctor", "--json").json()}
    assert findings["local stack"]["level"] == "problem"
    stack_state.write(seen.data_dir, state)
    assert len(seen.good("list", "--json").json()) == 3
