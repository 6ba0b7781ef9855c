"""What redis-py does by itself when an answer is lost, and why nothing that counts is left to it.

A client of redis-py as it comes sends a command again whose answer did not come. The server may have run
it the first time. So our connections never let redis-py try again (`cache/store/connection.py`), and who
counts either asks once (`increment_downloaded_bytes`) or sends a sequence that makes the second time do
nothing (`ProgressReporter`): see `test_cache_replay` and `test_progress_store`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import pytest
import redis

from cache.store import scripts
from tests.support.servers.tcp_proxy import Proxy
from tests.support.stores.server import ONCE, StoreServer

KEY = "seen:download:job:job-1"
FIELD = "bytes_downloaded"


@pytest.fixture
def proxy(store: StoreServer) -> Iterator[Proxy]:
    with Proxy(store.port) as proxy:
        yield proxy


def as_it_comes(store: StoreServer, proxy: Proxy) -> redis.Redis:
    """A client with redis-py's own rules; only a silent server is not waited for as long."""
    return redis.Redis(port=proxy.port, password=store.password, socket_timeout=0.5)


def lose_the_next_answer(proxy: Proxy, fault: str, request: bytes) -> None:
    if fault == "cut":
        proxy.cut_after_request(request)
    else:
        proxy.drop_next_reply(request)


def add(client: redis.Redis, sequence: str) -> None:
    """Add 50 bytes by our own script, with a sequence or without."""
    arguments = (1, sequence, 50, "", "", 30_000)
    client.evalsha(scripts.digest("progress_update"), 1, KEY, *arguments)


def counted(store: StoreServer) -> int:
    with store.client() as client:
        return int(client.hget(KEY, FIELD) or 0)


@pytest.fixture(autouse=True)
def a_hundred_bytes(store: StoreServer) -> None:
    with store.client() as client:
        client.script_load(scripts.source("progress_update"))
        client.hset(KEY, mapping={"status": "downloading", "fence": 1, "sequence": 1, FIELD: 100})


@pytest.mark.parametrize("fault", ["cut", "silence"])
def test_redis_py_counts_twice_what_it_sends_twice(
    store: StoreServer, proxy: Proxy, fault: str
) -> None:
    """This is what our rule is for; should redis-py change, the rule may go."""
    with as_it_comes(store, proxy) as client:
        client.ping()
        lose_the_next_answer(proxy, fault, b"HINCRBY")
        assert client.hincrby(KEY, FIELD, 50) == 200
    assert proxy.idle


@pytest.mark.parametrize(("sequence", "count"), [("", 200), ("2", 150)])
def test_a_sequence_is_what_makes_a_second_time_harmless(
    store: StoreServer, proxy: Proxy, sequence: str, count: int
) -> None:
    with as_it_comes(store, proxy) as client:
        client.ping()
        proxy.cut_after_request(b"EVALSHA")
        add(client, sequence)
    assert proxy.idle
    assert counted(store) == count


def test_a_client_that_must_not_try_again_counts_once(store: StoreServer, proxy: Proxy) -> None:
    with redis.Redis(port=proxy.port, password=store.password, retry=ONCE) as client:
        client.ping()
        proxy.cut_after_request(b"EVALSHA")
        with suppress(redis.ConnectionError):
            add(client, "")
    assert proxy.idle
    assert counted(store) == 150
