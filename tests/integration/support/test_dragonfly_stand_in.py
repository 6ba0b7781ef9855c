"""The stand-in for Dragonfly holds clients to Dragonfly's rules, and is a Redis in all else."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.exceptions import ReadOnlyError, ResponseError

from tests.support.servers.process import free_port
from tests.support.stores.dragonfly_rules import VERSION
from tests.support.stores.server import ROOT, StoreServer
from tests.support.wait import wait_until

UNDECLARED = "return redis.call('GET', 'elsewhere')"
SHA = "1" * 40


@pytest.fixture
def client(stand_in: StoreServer) -> Iterator[redis.Redis]:
    with stand_in.client() as client:
        yield client


def flag(client: Any, digest: str) -> None:
    reply: object = client.execute_command("SCRIPT", "FLAGS", digest, "allow-undeclared-keys")
    assert reply in (b"OK", "OK")


def refused(client: Any, *command: str | int) -> str:
    with pytest.raises(ResponseError) as caught:
        client.execute_command(*command)
    return str(caught.value)


def _children_of(pid: int) -> list[str]:
    """Return the process ids of the children that each thread has started."""
    return [file.read_text() for file in Path(f"/proc/{pid}/task").glob("*/children")]


# ── scripts ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "command",
    [
        "redis.call('GET', 'elsewhere')",
        "redis.call('SET', 'elsewhere', 1)",
        "redis.call('DEL', KEYS[1], 'elsewhere')",
        "redis.call('MSET', KEYS[1], 1, 'elsewhere', 2)",
        "redis.call('RENAME', KEYS[1], 'elsewhere')",
        "redis.call('get', 'elsewhere')",
    ],
)
def test_script_may_touch_only_its_declared_keys(client: redis.Redis, command: str) -> None:
    client.set("here", 1)
    message = refused(client, "EVAL", f"return {command}", 1, "here")
    assert "script tried accessing undeclared key, key: elsewhere" in message


def test_script_that_is_flagged_may_touch_any_key(client: redis.Redis) -> None:
    client.set("elsewhere", 1)
    digest = client.script_load(UNDECLARED)
    assert "undeclared key" in refused(client, "EVALSHA", digest, 0)
    flag(client, digest)
    assert client.evalsha(digest, 0) == b"1"
    assert client.script_exists(digest, SHA) == [True, False]


def test_script_whose_first_line_has_the_flag_may_touch_any_key(client: redis.Redis) -> None:
    client.set("elsewhere", 1)
    assert client.eval(f"--!df flags=allow-undeclared-keys\n{UNDECLARED}", 0) == b"1"


def test_flags_set_before_the_script_is_loaded_hold_for_eval(client: redis.Redis) -> None:
    script = f"{UNDECLARED} -- flagged first"
    digest = client.script_load(script)
    client.script_flush()
    flag(client, digest)
    assert client.eval(script, 0) is None


def test_errors_of_scripts_name_the_digest_that_clients_know(client: redis.Redis) -> None:
    digest = client.script_load("return redis.call('INCR', KEYS[1])")
    client.set("word", "x")
    assert f"call to {digest}" in refused(client, "EVALSHA", digest, 1, "word")


def test_server_aborts_when_a_script_is_run_that_has_flags_only() -> None:
    with StoreServer(stand_in=True) as server, server.client() as client:
        flag(client, SHA)
        with pytest.raises(redis.ConnectionError):
            client.execute_command("EVALSHA", SHA, 0)
        wait_until(lambda: not server.running, what="the end of the server")
        assert server.exit_status == -signal.SIGABRT


def test_scripts_outlive_a_restart_and_their_flags_do_not() -> None:
    with StoreServer(stand_in=True) as server, server.client() as client:
        digest = client.script_load(UNDECLARED)
        flag(client, digest)
        server.restart(lose_data=False)
        assert client.script_exists(digest) == [True]
        assert "undeclared key" in refused(client, "EVALSHA", digest, 0)


def test_time_in_scripts_is_in_whole_milliseconds_and_stands_still(client: redis.Redis) -> None:
    script = "local a = redis.call('TIME') local b = redis.call('TIME') return {a[1], a[2], b[2]}"
    seconds, micros, again = client.eval(script, 0)
    assert seconds == pytest.approx(client.time()[0], abs=60)
    assert micros % 1000 == 0
    assert micros == again


# ── what the server says of itself ───────────────────────────────────────────────────────────────


def test_info_is_dragonflys(client: redis.Redis) -> None:
    info = client.info()
    assert "run_id" not in info
    assert info["dragonfly_version"] == VERSION
    assert (info["cache_mode"], info["maxmemory_policy"]) == ("store", "noeviction")


def test_rules_are_those_of_the_version_in_compose() -> None:
    compose = (ROOT / "docker-compose.yml").read_text()
    assert f"dragonflydb/dragonfly:{VERSION.removeprefix('df-')}\n" in compose


def test_replication_id_is_new_at_each_start() -> None:
    with StoreServer(stand_in=True) as server, server.client() as client:
        before = client.info("replication")["master_replid"]
        server.restart(lose_data=False)
        assert client.info("replication")["master_replid"] != before


@pytest.mark.parametrize("protocol", [2, 3])
def test_config_shows_the_databases_only(stand_in: StoreServer, protocol: int) -> None:
    with stand_in.client(protocol=protocol) as client:
        assert client.config_get("maxmemory*") == {}
        assert client.config_get("databases") == {"databases": "16"}


def test_clients_are_listed_without_flags(stand_in: StoreServer, client: redis.Redis) -> None:
    with stand_in.client(db=3, client_name="other") as other:
        other.ping()
        listed = {entry["name"]: entry for entry in client.client_list()}
    assert listed["other"]["db"] == "3"
    assert "flags" not in listed["other"]


def test_clients_may_not_track_by_prefix_or_over_resp2(stand_in: StoreServer) -> None:
    with stand_in.client(protocol=3) as client:
        assert client.execute_command("CLIENT", "TRACKING", "ON") in (b"OK", "OK")
        assert "syntax error" in refused(client, "CLIENT", "TRACKING", "ON", "BCAST")
    with stand_in.client(protocol=2) as client:
        assert "RESP3" in refused(client, "CLIENT", "TRACKING", "ON")


# ── a full server, a replica ─────────────────────────────────────────────────────────────────────


def test_full_server_says_so_in_dragonflys_words(private_stand_in: StoreServer) -> None:
    with private_stand_in.client() as client:
        client.config_set("maxmemory", 1)
        assert refused(client, "SET", "a", 1) == "Out of memory"
        in_script = refused(client, "EVAL", "return redis.call('SET', KEYS[1], 1)", 1, "a")
        assert in_script.startswith("Error running script (call to ")
        assert in_script.endswith(": -ERR Out of memory")


def test_master_that_nothing_listens_at_is_refused(client: redis.Redis) -> None:
    assert "could not connect to master" in refused(client, "REPLICAOF", "127.0.0.1", free_port())
    assert client.info("replication")["role"] == "master"


def test_replica_of_another_server_follows_it_and_refuses_writes(
    private_stand_in: StoreServer,
) -> None:
    with (
        StoreServer(stand_in=True) as master,
        master.client() as source,
        private_stand_in.client() as client,
    ):
        source.config_set("masterauth", master.password)
        client.config_set("masterauth", master.password)
        source.set("from", "master")
        client.replicaof("127.0.0.1", str(master.port))
        wait_until(lambda: client.get("from") == b"master", what="the master's data")
        with pytest.raises(ReadOnlyError):
            client.set("a", 1)


# ── refusals ─────────────────────────────────────────────────────────────────────────────────────


def test_named_commands_are_refused_until_they_are_accepted(
    stand_in: StoreServer, client: redis.Redis
) -> None:
    stand_in.refuse("READONLY You can't write.", commands=["SET", "brpop"])
    with pytest.raises(ReadOnlyError):
        client.set("a", 1)
    with pytest.raises(ReadOnlyError):
        client.brpop(["queue"], timeout=1)
    assert client.get("a") is None
    stand_in.accept()
    assert client.set("a", 1)


def test_all_commands_but_some_are_refused(stand_in: StoreServer, client: redis.Redis) -> None:
    client.ping()
    stand_in.refuse("LOADING The server is loading.", but=["PING"])
    assert client.ping()
    with pytest.raises(redis.exceptions.BusyLoadingError):
        client.get("a")


def test_scripts_are_refused_as_by_a_command_inside(
    stand_in: StoreServer, client: redis.Redis
) -> None:
    stand_in.refuse("ERR Out of memory", commands=["EVAL", "SET"], in_scripts=True)
    assert refused(client, "SET", "a", 1) == "Out of memory"
    assert refused(client, "EVAL", "return 1", 0).endswith(": -ERR Out of memory")


# ── all else is Redis ────────────────────────────────────────────────────────────────────────────


def test_invalidations_reach_the_client_that_tracks(
    stand_in: StoreServer, client: redis.Redis
) -> None:
    with stand_in.client(protocol=3) as tracking:
        connection: Any = tracking.connection_pool.get_connection()
        pushed: list[object] = []
        connection._parser.set_invalidation_push_handler(pushed.append)
        for command in (("CLIENT", "TRACKING", "ON"), ("GET", "a")):
            connection.send_command(*command)
            connection.read_response()
        client.set("a", 1)
        connection.send_command("PING")
        connection.read_response()
        tracking.connection_pool.release(connection)
    assert pushed == [[b"invalidate", [b"a"]]]


def test_redis_behind_dies_with_the_stand_in(tmp_path: Path) -> None:
    server = StoreServer(stand_in=True)
    server.start()
    (children,) = (text.split() for text in _children_of(server.pid) if text)
    server.kill()
    wait_until(
        lambda: not any(Path(f"/proc/{child}").exists() for child in children),
        what="the end of Redis",
    )
    server.close()
