"""One discovery of the running local stack, for commands, Celery's programs and Python programs."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import settings as settings_module
from cache import CacheManager
from domain.errors import SettingsError
from seen_local import discovery, stack_state
from seen_local.discovery import OtherVersionError
from seen_local.stack_state import StackState
from seen_local.version import version
from tests.support.wait import wait_until

ROOT = Path(__file__).parents[3]
STATE = StackState(
    pid=4242,
    cache_addr="unix:///tmp/seen-stack-x/store.sock",
    download_dir="/tmp/files",
    started_at=datetime.now(UTC).isoformat(),
    on_demand=False,
    version=version(),
    root=str(ROOT),
)
ON_DEMAND = replace(STATE, on_demand=True)
#: The variables that name a store.
STORES = ("SEEN_CACHE_ADDR", "SEEN_BROKER_URL", "SEEN_RESULT_URL")


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    """The data folder of the settings; variables that a test sets end with it."""
    before = dict(os.environ)
    os.environ["SEEN_DATA_DIR"] = str(tmp_path)
    settings_module.load.cache_clear()
    yield tmp_path
    for use in discovery._uses:
        use.release()
    discovery._uses.clear()
    discovery._logged.clear()
    os.environ.clear()
    os.environ.update(before)
    settings_module.load.cache_clear()


@pytest.fixture
def run_stack(data_dir: Path) -> Iterator[Any]:
    """Return a function that makes a stack with a state count as running."""
    lock = stack_state.stack_lock(data_dir)

    def run(state: StackState) -> None:
        stack_state.write(data_dir, state)
        assert lock.acquire()

    yield run
    lock.release()


def test_the_running_stack_is_used_and_logged(
    run_stack: Any, caplog: pytest.LogCaptureFixture
) -> None:
    run_stack(STATE)
    caplog.set_level(logging.INFO)
    assert discovery.use_running_stack() == STATE
    settings = settings_module.load()
    assert (settings.cache_addr, str(settings.download_dir)) == (
        STATE.cache_addr,
        STATE.download_dir,
    )
    assert not settings.allow_any_directory
    (line,) = caplog.messages
    assert "the local stack of `seen up` (process 4242, since " in line
    assert f"version {version()} in {ROOT})" in line
    assert discovery.use_running_stack() is None, "found once, it counts as configured"


@pytest.mark.parametrize("variable", STORES)
def test_a_configured_store_wins(run_stack: Any, variable: str) -> None:
    run_stack(STATE)
    value = "127.0.0.1:1" if variable == "SEEN_CACHE_ADDR" else "redis://127.0.0.1:1/0"
    os.environ[variable] = value
    settings_module.load.cache_clear()
    assert discovery.use_running_stack() is None
    assert settings_module.load().download_dir is None


def test_without_a_stack_nothing_changes(data_dir: Path) -> None:
    assert discovery.use_running_stack() is None
    stack_state.write(data_dir, STATE)  # of a stack that was killed
    assert discovery.use_running_stack() is None
    assert "SEEN_CACHE_ADDR" not in os.environ
    assert [path.name for path in data_dir.iterdir()] == ["stack.json"]


def test_the_cache_uses_the_store_of_the_stack(
    run_stack: Any, caplog: pytest.LogCaptureFixture
) -> None:
    run_stack(STATE)
    os.environ.update({"SEEN_CACHE_PASSWORD": "of another", "SEEN_CACHE_DB": "5"})
    before = dict(os.environ)
    caplog.set_level(logging.INFO)
    for _ in range(2):
        used = discovery.with_running_store(settings_module.Settings())
        assert (used.cache_addr, used.cache_db) == (STATE.cache_addr, 0)
        assert used.cache_password.get_secret_value() == ""
        assert discovery.with_running_store(used) is used
    assert dict(os.environ) == before
    assert discovery.use_running_stack() == STATE
    (line,) = caplog.messages
    assert line.startswith("Using the local stack of `seen up` (process 4242, since ")


@pytest.mark.parametrize("variable", [*STORES, "SEEN_DATABASE_URL"])
def test_a_configured_store_or_database_server_wins_in_the_cache(
    run_stack: Any, variable: str
) -> None:
    run_stack(STATE)
    scheme = "postgresql" if variable == "SEEN_DATABASE_URL" else "redis"
    is_address = variable == "SEEN_CACHE_ADDR"
    os.environ[variable] = "127.0.0.1:6379" if is_address else f"{scheme}://127.0.0.1:1/0"
    settings = settings_module.Settings()
    assert discovery.with_running_store(settings) is settings
    del os.environ[variable]
    argument = settings_module.Settings(cache_addr="127.0.0.1:6379")
    assert discovery.with_running_store(argument) is argument


def test_the_cache_uses_no_stack_that_does_not_run(data_dir: Path) -> None:
    settings = settings_module.Settings()
    assert discovery.with_running_store(settings) is settings
    stack_state.write(data_dir, STATE)  # of a stack that was killed
    assert discovery.with_running_store(settings) is settings
    (data_dir / "stack.lock").mkdir()  # no file of ours: this folder cannot be used
    assert discovery.with_running_store(settings) is settings


@pytest.mark.parametrize("connect", ["connect", "connect_async"])
def test_the_cache_refuses_another_version(run_stack: Any, connect: str) -> None:
    run_stack(replace(STATE, version="0.0.9", root="/old"))
    with pytest.raises(OtherVersionError, match="`kill 4242`"):
        getattr(CacheManager, connect)(settings_module.Settings())


def test_the_cache_holds_a_stack_on_demand_once(run_stack: Any, data_dir: Path) -> None:
    run_stack(ON_DEMAND)
    settings = settings_module.Settings()
    for _ in range(3):
        assert discovery.with_running_store(settings).cache_addr == STATE.cache_addr
    assert len(discovery._uses) == 1
    assert not stack_state.clients_lock(data_dir).acquire()


#: The database of the stack, that of the program, and which the program uses then; None: it refuses.
DATABASES = {
    "both none": ("", "", "sqlite:///DATA/seen.db"),
    "the stack one": ("sqlite:////x/own.db", "", "sqlite:////x/own.db"),
    "both the same": ("sqlite:////x/own.db", "sqlite:////x/own.db", "sqlite:////x/own.db"),
    "both the same, one relative": (f"sqlite:///{Path.cwd()}/own.db", "sqlite:///own.db", "own"),
    "the program the embedded one": ("", "sqlite:///DATA/seen.db", "sqlite:///DATA/seen.db"),
    "the program another one": ("", "sqlite:////x/own.db", None),
    "two": ("sqlite:////x/own.db", "sqlite:////x/other.db", None),
}


@pytest.mark.parametrize(("theirs", "own", "used"), DATABASES.values(), ids=DATABASES)
def test_the_database_of_the_stack_is_used(
    run_stack: Any, data_dir: Path, theirs: str, own: str, used: str | None
) -> None:
    run_stack(replace(STATE, database_url=theirs))
    os.environ["SEEN_DATABASE_URL"] = own.replace("DATA", str(data_dir))
    settings_module.load.cache_clear()
    if used is None:
        with pytest.raises(SettingsError, match="SEEN_DATABASE_URL names sqlite:////x/o"):
            discovery.use_running_stack()
        assert "SEEN_CACHE_ADDR" not in os.environ
        return
    assert discovery.use_running_stack() is not None
    url = settings_module.load().sqlalchemy_url()
    assert url == (theirs if used == "own" else used.replace("DATA", str(data_dir)))


def test_a_database_server_belongs_to_no_local_stack(run_stack: Any) -> None:
    run_stack(STATE)
    os.environ["SEEN_DATABASE_URL"] = "postgresql://db/seen"
    settings_module.load.cache_clear()
    assert discovery.use_running_stack() is None
    assert "SEEN_CACHE_ADDR" not in os.environ


@pytest.mark.parametrize("other", ["0.0.9", "99.0", ""])
def test_another_version_is_refused(run_stack: Any, data_dir: Path, other: str) -> None:
    run_stack(replace(ON_DEMAND, version=other, root="/old" if other else ""))
    with pytest.raises(OtherVersionError) as refusal:
        discovery.use_running_stack()
    message = str(refusal.value)
    assert (f"version {other} in /old" if other else "an earlier version") in message
    assert "`kill 4242`" in message
    assert "SEEN_DATA_DIR" in message
    assert "SEEN_CACHE_ADDR" not in os.environ
    assert stack_state.clients_lock(data_dir).acquire(), "nothing holds it"


def test_another_checkout_is_used_and_named(run_stack: Any) -> None:
    run_stack(replace(STATE, root="/other"))
    state = discovery.use_running_stack()
    assert state is not None
    assert f"in /other), which is another checkout than {ROOT}" in discovery.describe(state)


#: What a program does when it has found a stack, and the name of its process then.
THEN = {
    "stays": ("sys.stdin.read()", "python"),
    "becomes another program": ("discovery.keep_over_exec(); os.execl('/bin/cat', 'cat')", "cat"),
}


@pytest.mark.parametrize(("then", "name"), THEN.values(), ids=THEN)
def test_a_stack_on_demand_is_held_until_the_process_ends(
    run_stack: Any, data_dir: Path, then: str, name: str
) -> None:
    run_stack(ON_DEMAND)
    clients = stack_state.clients_lock(data_dir)
    code = (
        "import os, sys; from seen_local import discovery; "
        f"print(discovery.use_running_stack().on_demand, flush=True); {then}"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "True\n"
        command = Path(f"/proc/{program.pid}/comm")
        wait_until(lambda: command.read_text().startswith(name))
        assert not clients.acquire()
        program.communicate("", timeout=20)
    assert clients.acquire()
    clients.release()


#: Contents of stack.json, and whether they are the state of a stack.
CONTENTS = {
    "what an earlier version writes": (
        {name: value for name, value in asdict(STATE).items() if name not in {"version", "root"}},
        True,
    ),
    "with a field of a later version": ({**asdict(STATE), "later": 1}, True),
    "without pid": ({k: v for k, v in asdict(STATE).items() if k != "pid"}, False),
    "with text as pid": ({**asdict(STATE), "pid": "4242"}, False),
    "with true as pid": ({**asdict(STATE), "pid": True}, False),
    "with a number as address": ({**asdict(STATE), "cache_addr": 1}, False),
    "with a list of pids": ({**asdict(STATE), "pids": [1]}, False),
    "with text among the pids": ({**asdict(STATE), "pids": {"store": "1"}}, False),
    "with null as version": ({**asdict(STATE), "version": None}, False),
    "a list": ([1], False),
    "a number": (1, False),
}


@pytest.mark.parametrize(("content", "is_state"), CONTENTS.values(), ids=CONTENTS)
def test_stack_json_is_checked(tmp_path: Path, content: object, is_state: bool) -> None:
    path = tmp_path / "stack.json"
    path.write_text(json.dumps(content))
    path.chmod(0o600)
    assert (stack_state.read_state(tmp_path) is not None) is is_state


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_stack_json_that_is_not_json(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "stack.json").write_bytes(raw)
    assert stack_state.read_state(tmp_path) is None


@pytest.mark.parametrize("started_at", ["", "yesterday", "0001-01-01T00:00:00+00:00", "9" * 5000])
def test_an_odd_time_of_start_is_no_error(started_at: str) -> None:
    assert "process 4242" in discovery.describe(replace(STATE, started_at=started_at))
