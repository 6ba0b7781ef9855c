"""The proxy of the tests loses exactly what it is told to lose."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest
import redis

from tests.support.origins.http_client import listens
from tests.support.servers.tcp_proxy import Proxy
from tests.support.stores.server import ONCE, StoreServer
from tests.support.wait import wait_until


@pytest.fixture
def proxy(store: StoreServer) -> Iterator[Proxy]:
    with Proxy(store.port) as proxy:
        yield proxy


@pytest.fixture
def client(store: StoreServer, proxy: Proxy) -> Iterator[redis.Redis]:
    with store.client(port=proxy.port, retry=ONCE, socket_timeout=1.0) as client:
        client.ping()
        yield client


def test_a_round_trip_is_counted_once(client: redis.Redis, proxy: Proxy) -> None:
    before = proxy.round_trips
    client.get("key")
    with client.pipeline() as pipe:
        for _ in range(5):
            pipe.incr("n")
        pipe.execute()
    assert proxy.round_trips == before + 2


def test_a_cut_comes_after_the_server_has_run_the_request(
    client: redis.Redis, proxy: Proxy
) -> None:
    proxy.cut_after_request(b"INCR")
    client.get("another")
    assert not proxy.idle
    with pytest.raises(redis.ConnectionError):
        client.incr("n")
    assert proxy.idle
    assert client.get("n") == b"1"


def test_a_dropped_reply_is_silence_on_an_open_line(client: redis.Redis, proxy: Proxy) -> None:
    proxy.drop_next_reply(b"INCR")
    with pytest.raises(redis.TimeoutError):
        client.incr("n")
    assert client.incr("n") == 2


def test_an_action_comes_before_the_request(
    client: redis.Redis, proxy: Proxy, store: StoreServer
) -> None:
    with store.client() as direct:
        proxy.before(b"INCR", lambda: direct.set("n", 41))
        assert client.incr("n") == 42
        assert client.incr("n") == 43


def test_a_pause_holds_everything_until_it_is_over(client: redis.Redis, proxy: Proxy) -> None:
    proxy.pause()
    threading.Timer(0.3, proxy.resume).start()
    started = time.monotonic()
    assert client.incr("n") == 1
    assert time.monotonic() - started > 0.2


def test_a_cut_line_is_cut_until_it_is_healed(client: redis.Redis, proxy: Proxy) -> None:
    proxy.cut()
    for _ in range(2):  # the connection there is, and a new one
        with pytest.raises(redis.ConnectionError):
            client.ping()
    proxy.heal()
    assert client.ping()


def test_a_half_open_line_is_silent_and_ends_when_it_is_healed(
    client: redis.Redis, proxy: Proxy, store: StoreServer
) -> None:
    with (
        store.client() as direct,
        socket.create_connection(("127.0.0.1", proxy.port), timeout=0.3) as line,
    ):
        line.sendall(b"PING\r\n")
        assert line.recv(100).startswith(b"-NOAUTH")
        served = len(direct.client_list())
        proxy.half_open()
        # The server finds that there is nobody any more; the client does not.
        wait_until(lambda: len(direct.client_list()) < served)
        line.sendall(b"PING\r\n")
        with pytest.raises(TimeoutError):
            line.recv(100)
        with store.client(port=proxy.port, retry=ONCE) as another:
            assert another.ping()
        proxy.heal()
        assert wait_until(lambda: _ends(line))
    client.connection_pool.disconnect()
    assert client.ping()


def _ends(line: socket.socket) -> bool:
    try:
        return line.recv(100) == b""
    except ConnectionError:
        return True
    except TimeoutError:
        return False


def test_a_closed_proxy_leaves_nothing() -> None:
    before = threading.active_count()
    proxy = Proxy(1)
    assert listens(proxy.port)
    proxy.close()
    assert not listens(proxy.port)
    assert threading.active_count() == before
