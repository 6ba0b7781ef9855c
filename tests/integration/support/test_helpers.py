"""The test support does what it says: the other tests stand on it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import psycopg
import pytest
import redis

from tests.chaos import __main__ as chaos
from tests.support.environment import OWN
from tests.support.origins.http_client import listens
from tests.support.servers import process
from tests.support.stores.server import ONCE, StoreServer
from tests.support.wait import wait_until

ROOT = Path(__file__).resolve().parents[3]


# --- waiting


def test_wait_until_names_what_it_waited_for() -> None:
    with pytest.raises(AssertionError, match=r"0\.05 s: the moon; last value: 0"):
        wait_until(lambda: 0, deadline=0.05, what="the moon")


# --- environment


def test_no_setting_of_the_developer_reaches_a_test() -> None:
    assert not [n for n in os.environ if n.startswith("SEEN_") and n not in OWN]


def test_no_setting_of_the_caller_reaches_a_chaos_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEEN_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("seen_database_url", "sqlite:///elsewhere.db")

    def begin(*_: object, **__: object) -> None:
        raise SystemExit(
            str([n for n in os.environ if n.upper().startswith("SEEN_") and n not in OWN])
        )

    monkeypatch.setattr("tests.chaos.__main__.run", begin)
    with pytest.raises(SystemExit, match=r"^\[\]$"):
        chaos.main(["--faults", "1"])


# --- store


def test_store_comes_back_from_an_older_snapshot(
    private_store: StoreServer, tmp_path: Path
) -> None:
    with private_store.client() as client:
        client.set("key", "old")
        private_store.save(tmp_path / "snapshot")
        client.set("key", "new")
    with pytest.raises(process.ServerError, match="running"):
        private_store.start_from(tmp_path / "snapshot")
    for _ in range(2):  # the snapshot can be used again
        private_store.kill()
        private_store.start_from(tmp_path / "snapshot")
        with private_store.client() as client:
            assert client.get("key") == b"old"
            client.set("key", "newer")


def test_store_killed_refuses_and_starts_again_from_any_thread(private_store: StoreServer) -> None:
    private_store.kill()
    assert not private_store.running
    with private_store.client(retry=ONCE) as client, pytest.raises(redis.ConnectionError):
        client.ping()
    thread = threading.Thread(target=private_store.start)
    thread.start()
    thread.join()
    # A child dies with its parent thread in Linux: not this one.
    with private_store.client() as client:
        assert client.ping()


def test_store_that_cannot_start_shows_its_output(private_store: StoreServer) -> None:
    private_store.kill()
    with (
        socket.create_server(("127.0.0.1", private_store.port)),
        pytest.raises(process.ServerError, match=r"(?i)bind|in use"),
    ):
        private_store.start()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's death signal is Linux's")
def test_store_dies_with_a_killed_test_process() -> None:
    script = (
        "import os; from tests.support.stores.server import StoreServer; s = StoreServer(); s.start();"
        "print(s.port, s._folder, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    port, folder = done.stdout.split()
    wait_until(lambda: not listens(int(port)), what="the end of the orphaned store")
    subprocess.run(["rm", "-r", folder], check=True)


# --- databases


def test_database_url_is_empty(database_url: str, tmp_path: Path) -> None:
    if database_url.startswith("sqlite"):
        assert database_url == f"sqlite:///{tmp_path}/seen.db"
        assert not (tmp_path / "seen.db").exists()
    else:
        query = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
        assert run(database_url, query) == [(0,)]


def libpq(url: str) -> str:
    return url.replace("+psycopg", "")


def run(url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(libpq(url)) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


# --- nginx
