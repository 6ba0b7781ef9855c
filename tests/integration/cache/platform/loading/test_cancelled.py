"""`get_or_load` on asyncio when tasks are cancelled: no caller waits for a loader that does not run.

The budget is long: a server that the machine does not let run for a quarter of a second counts as
away, and what is loaded then is returned without being stored. That is no matter of these tests.
"""

from __future__ import annotations

import asyncio
import threading

import pytest
from redis import Redis

from cache import CacheManager
from cache.store import scripts
from settings import Settings
from tests.support.build import cache_settings
from tests.support.client_side import reads
from tests.support.servers.tcp_proxy import Proxy
from tests.support.stores.server import StoreServer

KEY = "seen:load"


def patient_settings(store: StoreServer, **changes: str | float) -> Settings:
    """Settings with which a slow machine is no outage."""
    return cache_settings(store, cache_budget=60.0, cache_timeout=60.0, **changes)


def test_a_leader_that_is_cancelled_lets_the_others_go_on(store: StoreServer) -> None:
    async def scenario(client: Redis) -> None:
        async with CacheManager.connect_async(patient_settings(store)) as mine:
            started, before = asyncio.Event(), reads(client)

            async def hang() -> int:
                started.set()
                await asyncio.Event().wait()
                return 1

            leader = asyncio.create_task(mine.service.get_or_load(KEY, int, hang, 60))
            await started.wait()
            followers = [
                asyncio.create_task(mine.service.get_or_load(KEY, int, lambda: 2, 60, wait=60))
                for _ in range(10)
            ]
            while reads(client) < before + 11:
                await mine.ping()
            for _ in range(20):
                await mine.ping()
            leader.cancel()
            with pytest.raises(asyncio.CancelledError):
                await leader
            async with asyncio.timeout(30):
                assert await asyncio.gather(*followers) == [2] * 10
            assert await mine.service.get(KEY, int) == 2
            assert mine.counts().loads == 2

    with store.client() as client:
        asyncio.run(scenario(client))


def test_a_cancelled_follower_leaves_the_others_waiting(store: StoreServer) -> None:
    async def scenario() -> None:
        async with CacheManager.connect_async(patient_settings(store)) as mine:
            started, go = asyncio.Event(), asyncio.Event()

            async def held() -> int:
                started.set()
                await go.wait()
                return 1

            call = mine.service.get_or_load
            leader = asyncio.create_task(call(KEY, int, held, 60))
            await started.wait()
            followers = [asyncio.create_task(call(KEY, int, held, 60)) for _ in range(3)]
            for _ in range(50):
                await mine.ping()
            followers[0].cancel()
            with pytest.raises(asyncio.CancelledError):
                await followers[0]
            go.set()
            assert await asyncio.gather(leader, *followers[1:]) == [1, 1, 1]

    asyncio.run(scenario())


def test_whenever_a_task_is_cancelled_the_next_one_loads_and_stores(store: StoreServer) -> None:
    async def scenario() -> None:
        async with CacheManager.connect_async(patient_settings(store)) as mine:
            await mine.ping()

            async def loader() -> int:
                await asyncio.sleep(0)
                return 1

            async def load() -> int | None:
                return await mine.service.get_or_load(KEY, int, loader, 60, wait=60)

            cancelled = 0
            for steps in range(200):
                task = asyncio.create_task(load())
                for _ in range(steps):
                    await asyncio.sleep(0)
                cancelled += task.cancel()
                await asyncio.wait([task])
                async with asyncio.timeout(30):
                    assert await load() == 1
                stored = await mine.service.get(KEY, int)
                deleted = await mine.service.delete(KEY)
                assert (stored, deleted) == (1, 1), (steps, task, mine.counts())
            assert cancelled > 10

    asyncio.run(scenario())


@pytest.mark.parametrize("script", ["load_claim", "load_finish"])
def test_a_request_of_a_cancelled_task_does_not_take_effect_after_its_end(
    store: StoreServer, script: str
) -> None:
    """A claim that arrived later than its end would keep every caller waiting for half a minute."""

    async def scenario(proxy: Proxy) -> None:
        settings = patient_settings(store, cache_addr=proxy.addr)
        async with CacheManager.connect_async(settings) as mine:
            held, go = threading.Event(), threading.Event()

            def hold() -> None:
                held.set()
                go.wait(60)

            call = mine.service.get_or_load
            assert await call(KEY, int, lambda: 1, 60) == 1  # the scripts are known from here on
            assert await mine.service.delete(KEY)
            proxy.before(scripts.digest(script).encode(), hold)
            task = asyncio.create_task(call(KEY, int, lambda: 1, 60))
            await asyncio.to_thread(held.wait, 60)
            task.cancel()
            done, _ = await asyncio.wait([task], timeout=0.2)  # waits for its answer, or has ended
            go.set()
            await asyncio.wait([task])
            assert task.cancelled()
            assert await call(KEY, int, lambda: 2, 60, wait=30) in (1, 2)
            assert await mine.service.delete(KEY) == 1, mine.counts()
            assert done == set()

    with Proxy(store.port) as proxy:
        asyncio.run(scenario(proxy))


def test_a_load_whose_claim_exceeds_the_budget_is_returned_and_not_stored(
    store: StoreServer,
) -> None:
    async def scenario(proxy: Proxy) -> None:
        settings = cache_settings(store, cache_addr=proxy.addr, cache_budget=0.2)
        async with CacheManager.connect_async(settings) as mine:
            go = threading.Event()
            await mine.service.get(KEY, int)
            proxy.before(scripts.digest("load_claim").encode(), lambda: go.wait(60))
            assert await mine.service.get_or_load(KEY, int, lambda: 1, 60) == 1
            assert await mine.service.delete(KEY) == 0
            assert (mine.counts().loads, mine.counts().dropped_writes) == (1, 1)
            go.set()

    with Proxy(store.port) as proxy:
        asyncio.run(scenario(proxy))
