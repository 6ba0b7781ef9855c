"""Eight processes with two hundred callers each want one cold key: its loader runs exactly once."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.processes.callers import VALUE
from tests.support.servers.process import Process, end_process, spawn, tail
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until

PROCESSES = 8
CALLERS = 200
ROOT = Path(__file__).resolve().parents[5]


@contextmanager
def processes(
    store: StoreServer,
    folder: Path,
    sides: list[str],
    callers: int,
    *,
    seconds: float,
    load_timeout: float,
) -> Iterator[list[Process]]:
    """Processes that are ready to call, all at once: see `tests.support.processes.callers`."""
    environment = {
        **os.environ,
        "SEEN_CACHE_ADDR": store.addr,
        "SEEN_CACHE_PASSWORD": store.password,
        # A busy machine must not make a caller continue without the store.
        "SEEN_CACHE_TIMEOUT": "60",
        "SEEN_CACHE_BUDGET": "60",
    }
    started: list[Process] = []
    try:
        for side in sides:
            script = [sys.executable, "-m", "tests.support.processes.callers", side]
            command = [*script, str(folder), str(callers), str(seconds), str(load_timeout)]
            started.append(spawn(command, log=folder / "output", env=environment, cwd=ROOT))
        wait_until(
            lambda: len(list(folder.glob("ready-*"))) == len(sides), deadline=60, what="callers"
        )
        (folder / "go").touch()
        yield started
    finally:
        for process in started:
            end_process(process, grace=0)


def lines(path: Path) -> list[str]:
    """What the processes have written into a file so far."""
    return path.read_text().splitlines() if path.exists() else []


def wait_for(started: list[Process], folder: Path) -> None:
    """Wait for the processes, which end by themselves, and well."""
    ended = [process.wait(120) for process in started]
    assert ended == [0] * len(started), tail(folder / "output")


@pytest.mark.parametrize("side", ["sync", "async"])
def test_one_loader_runs_for_sixteen_hundred_callers(
    store: StoreServer, tmp_path: Path, side: str
) -> None:
    sides = [side] * PROCESSES
    with processes(store, tmp_path, sides, CALLERS, seconds=0.3, load_timeout=60) as started:
        wait_for(started, tmp_path)
    assert len(lines(tmp_path / "loads")) == 1
    assert lines(tmp_path / "found") == [VALUE] * (PROCESSES * CALLERS)


def test_the_others_load_once_when_the_process_that_loads_is_killed(
    store: StoreServer, tmp_path: Path
) -> None:
    loads, sides = tmp_path / "loads", ["sync", "async", "sync"]
    with processes(store, tmp_path, sides, 20, seconds=0.5, load_timeout=2) as started:
        wait_until(lambda: lines(loads), interval=0.005, what="a loader that runs")
        (victim,) = (one for one in started if str(one.pid) == lines(loads)[0])
        victim.kill()
        survivors = [one for one in started if one is not victim]
        wait_for(survivors, tmp_path)
    assert len(lines(loads)) == 2
    assert lines(tmp_path / "found") == [VALUE] * 40
