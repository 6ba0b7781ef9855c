"""One store on a unix socket, reached by the cache and by the broker."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from cache import CacheManager
from domain.ids import new_job_id
from domain.job import Priority, QueuedJob
from settings import Settings
from tests.support.build import NOW
from tests.support.servers.process import end_process, spawn, wait_ready
from tests.support.services.system import client_app
from tests.support.stores.server import ONCE, StoreServer
from worker.broker.client import Broker
from worker.broker.queues import queue_of

#: Everything that means something in a URL.
SECRET = "p@ss:/w?r#d%2F&+=["


@pytest.fixture
def unix_settings(_shared_store: StoreServer) -> Iterator[Settings]:
    """Settings for a server that listens on a socket in a folder with an awkward name."""
    if _shared_store.kind == "dragonfly":
        pytest.skip("the flags are those of Redis")
    # /tmp: the path of a unix socket has room for about 100 characters.
    with tempfile.TemporaryDirectory(prefix="seen %2F-", dir="/tmp") as name:
        path, log = Path(name, "s.sock"), Path(name, "server.log")
        flags = ["--port", "0", "--unixsocket", str(path), "--requirepass", SECRET, "--save", ""]
        process = spawn([_shared_store.binary, *flags], log=log)

        def answers() -> bool:
            try:
                with redis.Redis(unix_socket_path=str(path), password=SECRET, retry=ONCE) as client:
                    return bool(client.ping())
            except redis.ConnectionError:
                return False

        try:
            wait_ready(process, log, answers)
            yield Settings(cache_addr=f"unix://{path}", cache_password=SECRET, cache_db=3)
        finally:
            end_process(process)


def client_of(settings: Settings, *, db: int) -> redis.Redis:
    """A client of the socket that goes by no URL of ours."""
    path = settings.cache_addr.removeprefix("unix://")
    return redis.Redis(unix_socket_path=path, password=SECRET, db=db)


def test_cache_and_broker_each_find_their_database(unix_settings: Settings) -> None:
    with CacheManager.connect(unix_settings) as manager:
        manager.service.set("seen:x", 1, 60)
        broker = Broker(client_app(unix_settings), timeout=unix_settings.cache_timeout)
        broker.publish([QueuedJob(new_job_id(), Priority.NORMAL, NOW)], NOW)
        broker.close()
        with client_of(unix_settings, db=4) as client:
            assert client.llen(queue_of(Priority.NORMAL)) == 1
        found = manager.client.info("keyspace")
        assert found["db3"]["keys"] == 1
        assert set(found) == {"db3", "db4"}
