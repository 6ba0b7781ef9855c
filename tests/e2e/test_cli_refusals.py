"""Every command of `seen` at a store that refuses, in every way: a finding or one line, no traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from types import MappingProxyType
from typing import NamedTuple

import pytest

from tests.support.refusing import WAYS
from tests.support.seen import ROOT, Result, Seen
from tests.support.store import StoreServer

#: Of those the stand-in says them to every command.
SAID: Mapping[str, str] = MappingProxyType(
    {
        "LOADING": "LOADING Dragonfly is loading the dataset in memory",
        "CLUSTERDOWN": "CLUSTERDOWN The cluster is down",
        "TRYAGAIN": "TRYAGAIN Multiple keys request during rehashing of slot",
        "MOVED": "MOVED 3999 127.0.0.1:6381",
        "SHUTDOWN": "ERR Can not execute during SHUTTING DOWN",
    }
)
#: Read nothing but the database.
WITHOUT_STORE = frozenset({"list", "show", "add", "pause", "resume", "move", "cancel", "retry"})


class Setup(NamedTuple):
    """A person with a job, and the store that is theirs."""

    seen: Seen
    store: StoreServer
    job_id: str

    def run(self, *commands: list[str]) -> list[Result]:
        """Run commands in one process."""
        done = subprocess.run(
            [sys.executable, "-m", "tests.support.many_commands", json.dumps(commands)],
            cwd=ROOT,
            env=self.seen.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        return [Result(*one) for one in json.loads(done.stdout)]


@pytest.fixture(scope="module", params=[False, True], ids=["real", "stand-in"])
def setup(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Setup]:
    with StoreServer(stand_in=request.param) as store:
        seen = Seen(
            tmp_path_factory.mktemp("person"),
            SEEN_CACHE_ADDR=store.addr,
            SEEN_CACHE_PASSWORD=store.password,
            SEEN_CACHE_TIMEOUT="2",
        )
        added = seen.good("add", "--json", "http://127.0.0.1:9/file.bin")
        yield Setup(seen, store, added.json()[0]["id"])


@contextmanager
def saying(store: StoreServer, text: str) -> Iterator[None]:
    store.refuse(text)
    try:
        yield
    finally:
        store.accept()


def refusing(store: StoreServer, way: str) -> AbstractContextManager[None]:
    if store.is_stand_in != (way in SAID):
        pytest.skip("this server refuses in other ways")
    return saying(store, SAID[way]) if way in SAID else WAYS[way](store)


@pytest.mark.parametrize("way", [*WAYS, *SAID])
def test_commands_say_in_one_line_that_the_store_refuses(setup: Setup, way: str) -> None:
    job = setup.job_id
    commands = [
        ["list"],
        ["show", job],
        ["add", f"http://127.0.0.1:9/{way}.bin"],
        ["pause", job],
        ["resume", job],
        ["move", "--to", "high", job],
        ["cancel", job],
        ["retry", job],
        ["limit"],
        ["limit", "--total", "10M"],
        ["beat", "--check"],
        ["cache", "stats"],
        ["cache", "forget-user", "ada"],
        ["cache", "forget-title", "title"],
        ["cache", "forget-keys", "seen:x*"],
        ["doctor"],
    ]
    with refusing(setup.store, way):
        results = setup.run(*commands)

    for command, result in zip(commands, results, strict=True):
        told = f"{command}: {result}"
        assert "Traceback" not in result.err, told
        if command[0] in WITHOUT_STORE:
            assert result.status == 0, told
        elif command[0] != "doctor" and result.status != 0:
            assert result.status == 1, told
            if command[0] != "beat":  # which also says so when none has ticked
                assert result.error_line().startswith("seen: The store "), told
    doctor = results[-1]
    assert doctor.status == 1, doctor
    assert "problem" in doctor.out, doctor
