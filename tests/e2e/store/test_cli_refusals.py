"""Every command of `seen` at a store that refuses commands: one line or a finding, no traceback."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.servers.process import end_process
from tests.support.services.seen import Result, Seen
from tests.support.stores.refusing import SAID, WAYS, saying
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until

#: Commands that need only the database.
WITHOUT_STORE = frozenset(
    {"list", "show", "add", "pause", "resume", "move", "cancel", "retry", "watch"}
)
#: In these ways the store refuses every message; in the others it may accept one.
UNSENT = frozenset({"READONLY", "OOM", "NOPERM", "NOREPLICAS", "MISCONF", *SAID}) - {"SHUTDOWN"}


class Setup(NamedTuple):
    """A person with a job, and the store that this person uses."""

    seen: Seen
    store: StoreServer
    job_id: str


@pytest.fixture(scope="module", params=[False, True], ids=["real", "stand-in"])
def setup(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Setup]:
    with StoreServer(stand_in=request.param) as store:
        seen = person_at(store, tmp_path_factory.mktemp("person"))
        added = seen.good("add", "--json", "http://127.0.0.1:9/file.bin")
        yield Setup(seen, store, added.json()[0]["id"])


def person_at(store: StoreServer, folder: Path) -> Seen:
    return Seen(
        folder,
        SEEN_CACHE_ADDR=store.addr,
        SEEN_CACHE_PASSWORD=store.password,
        SEEN_CACHE_TIMEOUT="2",
    )


def refusing(store: StoreServer, way: str) -> AbstractContextManager[None]:
    if store.is_stand_in != (way in SAID):
        pytest.skip("this server refuses in other ways")
    return saying(store, way) if way in SAID else WAYS[way](store)


def commands(job_id: str, way: str) -> list[list[str]]:
    return [
        ["list"],
        ["show", job_id],
        ["add", f"http://127.0.0.1:9/{way}.bin"],
        ["pause", job_id],
        ["resume", job_id],
        ["move", "--to", "high", job_id],
        ["cancel", job_id],
        ["watch", job_id],  # it has ended
        ["retry", job_id],
        ["get", "--max-time", "0.5", f"http://127.0.0.1:9/get-{way}.bin"],
        ["up"],
        ["limit"],
        ["limit", "--total", "10M"],
        ["beat", "--check"],
        ["cache", "stats"],
        ["cache", "forget-user", "ada"],
        ["cache", "forget-title", "title"],
        ["cache", "forget-keys", "seen:x*"],
        ["doctor"],
    ]


@pytest.mark.parametrize("way", [*WAYS, *SAID])
def test_commands_say_in_one_line_that_the_store_refuses(setup: Setup, way: str) -> None:
    with refusing(setup.store, way):
        for command in commands(setup.job_id, way):
            check_result(command, setup.seen.run(*command), way)


def check_result(command: list[str], result: Result, way: str) -> None:
    shown = f"{command}: {result}"
    assert "Traceback" not in result.err, shown
    if command[0] == "doctor":
        assert (result.status, "problem" in result.out) == (1, True), shown
    elif command[0] == "up":  # the configured store is an external one: there is nothing to run
        assert (result.status, "SEEN_CACHE_ADDR" in result.error_line()) == (2, True), shown
    elif command[0] == "get":
        assert result.status == 1, shown
        assert "seen: to continue: seen resume " in result.err, shown
        assert way not in UNSENT or "The store refuses: " in result.out, shown
    elif command[0] in WITHOUT_STORE:
        assert result.status == 0, shown
    elif result.status != 0:
        assert result.status == 1, shown
        if command[0] != "beat":  # its status is also 1 when no beat has ticked
            assert result.error_line().startswith("seen: The store "), shown


def test_watch_says_once_that_the_store_refuses(tmp_path: Path) -> None:
    with StoreServer(stand_in=True) as store:
        seen = person_at(store, tmp_path)
        job_id = seen.good("add", "--json", "http://127.0.0.1:9/file.bin").json()[0]["id"]
        with saying(store, "LOADING"):
            watching = seen.start("watch", job_id)
            wait_until(lambda: "The store refuses: LOADING" in seen.printed, deadline=30)
        end_process(watching, how=signal.SIGINT, grace=20)
        assert seen.printed.count("The store refuses") == 1
        assert "Traceback" not in seen.printed
