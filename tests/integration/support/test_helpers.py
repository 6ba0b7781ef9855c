"""The test support does what it says: the other tests stand on it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
import redis

from tests.chaos import __main__ as chaos
from tests.support.environment import OWN
from tests.support.origins.http_client import fetch, listens
from tests.support.servers import process
from tests.support.servers.nginx import Nginx, NginxRequest
from tests.support.servers.postgres import PostgresServer
from tests.support.stores.server import ONCE, StoreServer
from tests.support.wait import wait_until

ROOT = Path(__file__).resolve().parents[3]


# --- waiting


def test_wait_until_returns_the_first_truthy_value() -> None:
    answers = iter([0, "", None, "ready"])
    assert wait_until(lambda: next(answers), interval=0) == "ready"


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


def test_store_is_flushed_and_has_a_password(store: StoreServer) -> None:
    with store.client(db=3) as client:
        assert client.dbsize() == 0
        client.set("left", "over")
    store.flush()
    with redis.Redis.from_url(store.url(3)) as client:
        assert client.get("left") is None
    host, port = store.addr.split(":")
    with (
        redis.Redis(host, int(port), retry=ONCE) as anonymous,
        pytest.raises(redis.AuthenticationError),
    ):
        anonymous.ping()


@pytest.mark.parametrize(("lose_data", "expected"), [(True, None), (False, b"1")])
def test_store_restart_keeps_the_port(
    private_store: StoreServer, lose_data: bool, expected: bytes | None
) -> None:
    address, pid = private_store.addr, private_store.pid
    with private_store.client() as client:
        client.set("key", 1)
    private_store.restart(lose_data=lose_data)
    assert private_store.addr == address
    assert private_store.pid != pid
    with private_store.client() as client:
        assert client.get("key") == expected


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


def test_store_paused_does_not_answer(private_store: StoreServer) -> None:
    with private_store.client(socket_timeout=0.2, retry=ONCE) as client:
        client.ping()
        private_store.pause()
        with pytest.raises(redis.TimeoutError):
            client.ping()
        private_store.resume()
        assert wait_until(client.ping, what="an answer after resume")


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


def test_postgres_databases_are_fresh_and_dropped(postgres: PostgresServer) -> None:
    first, second = postgres.create_database(), postgres.create_database()
    run(first, "CREATE TABLE t (x int)")
    assert first != second
    assert run(second, "SELECT count(*) FROM pg_tables WHERE tablename = 't'") == [(0,)]
    with psycopg.connect(libpq(first)):  # an open session does not keep it
        postgres.drop_database(first)
    postgres.drop_database(second)
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        run(first, "SELECT 1")
    with pytest.raises(ValueError, match="not a database"):
        postgres.drop_database(postgres.url())


@pytest.mark.parametrize("end", [PostgresServer.stop, PostgresServer.crash])
def test_postgres_keeps_data_over_a_restart(
    postgres: PostgresServer, end: Callable[[PostgresServer], None]
) -> None:
    url = postgres.create_database()
    run(url, "CREATE TABLE t AS SELECT 7 AS x")
    end(postgres)
    try:
        assert not postgres.running
        with pytest.raises(psycopg.OperationalError):
            run(url, "SELECT 1")
    finally:
        postgres.start()
    assert run(url, "SELECT x FROM t") == [(7,)]
    postgres.drop_database(url)


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


def test_nginx_serves_ranges_and_logs_them(nginx: Nginx) -> None:
    (nginx.root / "support.bin").write_bytes(b"0123456789")
    answer = fetch(nginx.port, "/support.bin", headers={"Range": "bytes=2-4"})
    assert (answer.status, answer.body) == (206, b"234")
    slow = fetch(nginx.port, "/slow/support.bin")
    assert (slow.status, slow.body) == (200, b"0123456789")
    wait_until(lambda: nginx.requests("/slow/support.bin"), what="the log of the slow request")
    [entry] = nginx.requests("/support.bin")
    asked = NginxRequest("GET", "/support.bin", 206, "bytes=2-4", 3, "HTTP/1.1", entry.connection)
    assert entry == asked
    nginx.clear_requests()
    assert nginx.requests() == []
    assert fetch(nginx.port, "/absent").status == 404
    assert wait_until(nginx.requests)[0].status == 404


def test_free_port_can_be_bound(free_port: int) -> None:
    socket.create_server(("127.0.0.1", free_port)).close()
