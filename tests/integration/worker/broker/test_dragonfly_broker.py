"""What our processes send to a Dragonfly that holds the queues never makes it abort."""

from __future__ import annotations

import hashlib
import signal
from pathlib import Path
from typing import Any

import pytest
import redis
from kombu import Connection
from kombu.transport import redis as kombu_redis

from tests.support.services.system import System
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until

#: kombu's script that removes bindings; it touches keys that it does not declare.
SWEEP: str = kombu_redis.SWEEP_BINDINGS  # type: ignore[attr-defined]
SWEEP_DIGEST = hashlib.sha1(SWEEP.encode(), usedforsecurity=False).hexdigest()
#: A worker that renews its bindings twice in three seconds, and would sweep right after.
BRIEF = ("-m", "tests.support.processes.brief_bindings")
#: Until when kombu keeps the table of bindings of each exchange.
DEADLINES = "_kombu.binding_deadlines"
FLAG = ("SCRIPT", "FLAGS", SWEEP_DIGEST, "allow-undeclared-keys")


def run_kombus_sweep(server: StoreServer) -> None:
    """Do as a consumer with kombu's own transport does each minute."""
    with Connection(server.url(1), transport=kombu_redis.Transport) as connection:
        channel: Any = connection.default_channel
        channel.sweep_bindings()


@pytest.mark.parametrize(
    ("before", "result"),
    [
        ([], "refused"),
        # Flags without the script: the bug of Dragonfly 1.36 to 1.40.1.
        ([FLAG], "aborted"),
        ([("SCRIPT", "LOAD", SWEEP), FLAG], "runs"),
        ([FLAG, ("SCRIPT", "LOAD", SWEEP)], "runs"),
    ],
    ids=["unprepared", "flagged", "loaded, then flagged", "flagged, then loaded"],
)
def test_kombus_sweep_on_dragonfly(
    private_stand_in: StoreServer, before: list[tuple[str, ...]], result: str
) -> None:
    with private_stand_in.client(db=1) as client:
        client.zadd(DEADLINES, {"an unused exchange": 1})
        for command in before:
            client.execute_command(*command)
    if result == "runs":
        run_kombus_sweep(private_stand_in)
    elif result == "refused":
        with pytest.raises(redis.ResponseError, match="undeclared key"):
            run_kombus_sweep(private_stand_in)
    else:
        with pytest.raises(redis.ConnectionError):
            run_kombus_sweep(private_stand_in)
        wait_until(lambda: not private_stand_in.running, what="the end of the server")
        assert private_stand_in.exit_status == -signal.SIGABRT


def test_worker_renews_its_bindings_and_sends_no_script_that_dragonfly_refuses(
    tmp_path: Path, private_stand_in: StoreServer
) -> None:
    with System(tmp_path, private_stand_in) as system, private_stand_in.client(db=1) as client:
        worker = system.start_worker("maintenance", concurrency=1, program=BRIEF)
        wait_for_renewals(client)
        # Connections that break, a restart that keeps scripts and loses flags, one that loses all.
        client.client_kill_filter(_type="normal", skipme=True)
        wait_for_renewals(client)
        for lose_data in (False, True):
            private_stand_in.restart(lose_data=lose_data)
            wait_for_renewals(client)
        asking = system.app.control.inspect(timeout=1)
        wait_until(asking.ping, deadline=30, what="an answer of the worker")
        assert client.script_exists(SWEEP_DIGEST) == [False]
        assert worker.poll() is None
    assert "Redis error" not in system.logs()


def wait_for_renewals(client: redis.Redis) -> None:
    """Wait until a consumer has renewed its bindings twice; kombu's sweep follows a renewal."""
    for _ in range(2):
        before = deadlines(client)
        wait_until(lambda b=before: deadlines(client) > b, deadline=40, what="a renewal")  # type: ignore[misc]


def deadlines(client: redis.Redis) -> float:
    """Return the latest time until which a table of bindings is kept."""
    try:
        latest: Any = client.zrange(DEADLINES, -1, -1, withscores=True)
    except redis.ConnectionError:
        return 0.0
    return float(latest[0][1]) if latest else 0.0
