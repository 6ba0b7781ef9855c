"""`get_or_load` on asyncio when tasks are cancelled: nobody waits for a loader that does not run."""

from __future__ import annotations

import asyncio

import pytest
from redis import Redis

from cache import CacheManager
from tests.support.build import cache_settings
from tests.support.near import reads
from tests.support.store import StoreServer

KEY = "seen:load"


def test_a_leader_that_is_cancelled_lets_the_others_go_on(store: StoreServer) -> None:
    async def scenario(client: Redis) -> None:
        async with CacheManager.connect_async(cache_settings(store)) as mine:
            begun, before = asyncio.Event(), reads(client)

            async def hang() -> int:
                begun.set()
                await asyncio.Event().wait()
                return 1

            leader = asyncio.create_task(mine.service.get_or_load(KEY, int, hang, 60))
            await begun.wait()
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


def test_a_follower_that_is_cancelled_disturbs_nobody(store: StoreServer) -> None:
    async def scenario() -> None:
        async with CacheManager.connect_async(cache_settings(store)) as mine:
            begun, go = asyncio.Event(), asyncio.Event()

            async def held() -> int:
                begun.set()
                await go.wait()
                return 1

            call = mine.service.get_or_load
            leader = asyncio.create_task(call(KEY, int, held, 60))
            await begun.wait()
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
        async with CacheManager.connect_async(cache_settings(store)) as mine:
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
