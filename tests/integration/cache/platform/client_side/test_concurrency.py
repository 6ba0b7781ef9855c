"""One client-side cache for threads, tasks and signals: no caller gets or waits for another's answer."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import threading
import time

import pytest

from cache import CacheManager
from cache.platform.client_side_cache import MAX_SILENCE
from tests.support.build import Connect, cache_manager, cache_settings
from tests.support.client_side import keep
from tests.support.loading import Caller, crowd
from tests.support.servers.tcp_proxy import Proxy
from tests.support.stores.commands import commands, commands_since
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until

KEY = "seen:catalog:x"
OTHER = "seen:catalog:y"


def test_word_of_a_change_that_comes_with_an_answer_is_heard(
    store: StoreServer, connect: Connect
) -> None:
    with (
        Proxy(store.port) as proxy,
        connect(
            store, cache_client_side_entries=9, cache_addr=proxy.addr, cache_budget=5
        ) as caching,
        connect(store) as other,
    ):
        other.service.set(KEY, 1, 60)
        caching.service.get(OTHER, int)  # connected
        # From this request on the line holds back what comes; the answer, and then the word of change.
        proxy.before(b"PTTL", proxy.pause)
        before = commands(other.client)

        def answered() -> bool:
            return "pttl" in commands_since(other.client, before)

        with Caller(lambda: caching.service.get(KEY, int)) as caller:
            wait_until(answered, what="an answer on its way")
            other.service.set(KEY, 2, 60)
            other.client.ping()  # the server has told everybody by now
            proxy.resume()
            assert caller.result() == 1
        assert caching.service.get(KEY, int) == 2


def test_what_is_in_doubt_is_not_served_while_another_thread_has_the_connection(
    store: StoreServer, connect: Connect
) -> None:
    with (
        Proxy(store.port) as proxy,
        connect(
            store, cache_client_side_entries=9, cache_addr=proxy.addr, cache_budget=10
        ) as caching,
        connect(store) as other,
    ):
        other.service.set(KEY, 1, 60)
        keep(caching, KEY)
        doubtful_at = time.monotonic() + MAX_SILENCE
        held = threading.Event()
        # Nothing passes on the client-side cache's own connection, in neither direction.
        proxy.before(b"PTTL", lambda: held.wait(60))
        with Caller(lambda: caching.service.get(OTHER, int)) as caller:
            wait_until(lambda: proxy.idle, what="a connection that is held up")
            other.service.set(KEY, 2, 60)
            while True:
                began = time.monotonic()
                if caching.service.get(KEY, int) == 2:
                    break
                assert began < doubtful_at
            assert not caller.done
            held.set()


class TimeLimitError(Exception):
    """Raised by a signal, as Celery's time limit is."""


def test_a_reply_left_unread_by_a_signal_reaches_no_other_call(store: StoreServer) -> None:
    """Nor is the connection used on without the tracking that it had."""

    def too_late(*_: object) -> None:
        raise TimeLimitError

    with (
        Proxy(store.port) as proxy,
        cache_manager(store, cache_client_side_entries=9, cache_addr=proxy.addr) as caching,
        cache_manager(store) as other,
    ):
        other.service.mset({KEY: 1, OTHER: 2}, 60)
        caching.service.get("seen:catalog:z", int)  # connected
        before = signal.signal(signal.SIGUSR1, too_late)
        try:
            proxy.before(b"PTTL", lambda: os.kill(os.getpid(), signal.SIGUSR1))
            with pytest.raises(TimeLimitError):
                wait_until(lambda: caching.service.get(KEY, int) is None)
        finally:
            signal.signal(signal.SIGUSR1, before)
        assert proxy.idle
        assert caching.service.get(OTHER, int) == 2
        assert caching.service.get(KEY, int) == 1
        keep(caching, KEY)
        other.service.set(KEY, 3, 60)
        wait_until(lambda: caching.service.get(KEY, int) == 3)


def test_a_task_that_is_cancelled_leaves_no_answer_behind(store: StoreServer) -> None:
    async def scenario() -> None:
        settings = cache_settings(store, cache_client_side_entries=50)
        async with CacheManager.connect_async(settings) as caching:
            values = {f"seen:catalog:{number}": number for number in range(100)}
            await caching.service.mset(values, 60)
            for steps, (key, _) in itertools.product(range(4), values.items()):
                task = asyncio.create_task(caching.service.get(key, int))
                for _ in range(steps):
                    await asyncio.sleep(0)
                task.cancel()
                found = await asyncio.gather(
                    *(caching.service.get(key, int) for key in list(values)[:5])
                )
                assert found == [0, 1, 2, 3, 4]

    asyncio.run(scenario())


def test_the_event_loop_does_not_wait_for_a_connection_in_use(store: StoreServer) -> None:
    async def scenario(proxy: Proxy) -> None:
        settings = cache_settings(
            store, cache_client_side_entries=9, cache_addr=proxy.addr, cache_budget=4.0
        )
        async with CacheManager.connect_async(settings) as caching:
            await caching.service.set(KEY, 1, 60)
            await caching.service.get(KEY, int)
            proxy.drop_next_reply(b"PTTL")
            hanging = asyncio.create_task(caching.service.get(OTHER, int))
            while not proxy.idle:
                await asyncio.sleep(0)
            await caching.service.set(KEY, 2, 60)
            assert await caching.service.get(KEY, int) == 2
            await caching.service.delete(KEY)
            assert not hanging.done(), "it still waits for its reply"
            assert await hanging is None

    with Proxy(store.port) as proxy:
        asyncio.run(scenario(proxy))


def test_loaders_that_fill_the_threads_of_asyncio_hold_up_no_read(store: StoreServer) -> None:
    async def scenario() -> None:
        go = threading.Event()
        settings = cache_settings(store, cache_client_side_entries=9)
        async with CacheManager.connect_async(settings) as caching:
            await caching.service.set(KEY, 1, 60)
            busy = [asyncio.create_task(asyncio.to_thread(go.wait, 60)) for _ in range(100)]
            await asyncio.sleep(0)
            async with asyncio.timeout(30):
                assert await caching.service.get(KEY, int) == 1
            assert not any(task.done() for task in busy)
            go.set()
            await asyncio.gather(*busy)

    asyncio.run(scenario())


def test_threads_that_read_while_others_write_get_their_own_keys_values(
    store: StoreServer, connect: Connect
) -> None:
    caching, other = connect(store, cache_client_side_entries=5), connect(store)
    keys = [f"seen:catalog:{number}" for number in range(8)]
    other.service.mset({key: place for place, key in enumerate(keys)}, 60)
    over = threading.Event()

    def write() -> None:
        for version in range(1, 300):
            place = version % 8
            other.service.set(keys[place], version * 8 + place, 60)
        over.set()

    def read() -> None:
        for place in itertools.cycle(range(8)):
            found = caching.service.get(keys[place], int)
            assert found is not None
            assert found % 8 == place
            if over.is_set():
                return

    with Caller(write):
        assert crowd(6, read) == [None] * 6
    last = {key: other.service.get(key, int) for key in keys}
    for key in keys:
        wait_until(lambda key=key: caching.service.get(key, int) == last[key])  # type: ignore[misc]
