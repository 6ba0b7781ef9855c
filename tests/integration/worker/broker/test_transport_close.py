"""A channel that closes gets the reply to its last BRPOP at once, and what is in it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from kombu import Connection

from tests.support.stores.server import StoreServer
from worker.broker.queues import MAINTENANCE_QUEUE
from worker.broker.transport import Transport

#: Seconds for which BRPOP waits; the test fails long before.
WAIT = 60


@pytest.fixture(params=["private_store", "private_stand_in"])
def server(request: pytest.FixtureRequest) -> StoreServer:
    found: StoreServer = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def channel(server: StoreServer) -> Iterator[Any]:
    with Connection(server.url(1), transport=Transport) as connection:
        channel: Any = connection.channel()
        channel._active_queues = [MAINTENANCE_QUEUE]
        channel._queue_cycle.update([MAINTENANCE_QUEUE])
        channel.client.connection = channel.client.connection_pool.get_connection()
        yield channel


def seconds_to_close(channel: Any) -> float:
    before = time.monotonic()
    channel.close()
    return time.monotonic() - before


def test_a_channel_without_messages_closes_at_once_and_leaves_no_key(
    channel: Any, server: StoreServer
) -> None:
    channel._brpop_start(WAIT)
    assert seconds_to_close(channel) < WAIT / 2
    with server.client(db=1) as client:
        assert not client.keys()


def test_a_message_that_came_before_is_delivered(channel: Any, server: StoreServer) -> None:
    delivered: list[object] = []
    channel._checked = lambda _queue, raw: raw
    channel.connection._deliver = lambda message, queue: delivered.append((message, queue))
    with server.client(db=1) as client:
        client.lpush(MAINTENANCE_QUEUE, b"a message")
        channel._brpop_start(WAIT)
        assert seconds_to_close(channel) < WAIT / 2
        assert delivered == [(b"a message", MAINTENANCE_QUEUE)]
        (left,) = client.keys()  # for the channel that closed before it was used
        assert 0 < client.ttl(left) <= 10


def test_without_the_right_to_wake_the_reply_is_awaited(channel: Any, server: StoreServer) -> None:
    with server.client(db=1) as client:
        channel._brpop_start(1)
        client.config_set("maxmemory", 1)
        try:
            channel.close()
        finally:
            client.config_set("maxmemory", 0)
    assert not channel._in_poll
