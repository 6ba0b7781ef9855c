"""A lock for a block of code on asyncio: cancelled at any moment, or held up by a block of its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial

import pytest

from cache import AsyncStore, CacheManager
from domain.errors import LeaseLostError
from tests.support.build import cache_settings
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until

Work = Callable[[CacheManager[AsyncStore]], Awaitable[None]]


def on_asyncio(store: StoreServer, work: Work) -> None:
    """Run a coroutine function with a manager of its own."""

    async def main() -> None:
        async with CacheManager.connect_async(cache_settings(store)) as manager:
            await work(manager)
            others = asyncio.all_tasks() - {asyncio.current_task()}
            assert others == set()  # every renewal has ended

    asyncio.run(main())


async def cancelled(task: asyncio.Task[None]) -> None:
    """Cancel a task once, and see it end by that."""
    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=10)
    assert done, "the task did not notice that it was cancelled"
    assert task.cancelled()


def test_a_block_that_is_cancelled_lets_the_lock_go(store: StoreServer) -> None:
    async def work(manager: CacheManager[AsyncStore]) -> None:
        inside = asyncio.Event()

        async def body() -> None:
            async with manager.session.lock("x"):
                inside.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(body())
        await inside.wait()
        await cancelled(task)
        assert (await manager.session.acquire_lock("x")).acquired

    on_asyncio(store, work)


def test_a_wait_that_is_cancelled_takes_nothing(store: StoreServer) -> None:
    async def work(manager: CacheManager[AsyncStore]) -> None:
        grant = await manager.session.acquire_lock("x")

        async def body() -> None:
            async with manager.session.lock("x", wait=60):
                pytest.fail("two are inside")

        task = asyncio.create_task(body())
        before = await looks(manager)
        while await looks(manager) < before + 5:
            await asyncio.sleep(0)
        await cancelled(task)
        assert await manager.session.release_lock("x", grant.lock_id)
        assert (await manager.session.acquire_lock("x")).acquired

    on_asyncio(store, work)


async def looks(manager: CacheManager[AsyncStore]) -> int:
    """How often a lock was requested so far."""
    figures = await manager.store.client.info("commandstats")
    return int(figures["cmdstat_set"]["calls"])


@pytest.mark.parametrize("connected", [True, False])
def test_a_task_cancelled_at_any_moment_ends_and_leaves_the_lock_free(
    store: StoreServer, connected: bool
) -> None:
    """Whether it connects, sends its request, waits for the answer, or is in its block already."""

    async def work(manager: CacheManager[AsyncStore], moment: int) -> None:
        if connected:
            assert await manager.session.get_user("ada") is None

        async def body() -> None:
            async with manager.session.lock("x", ttl=60):
                await asyncio.Event().wait()

        task = asyncio.create_task(body())
        for _ in range(moment):
            await asyncio.sleep(0)
        await cancelled(task)
        grant = await manager.session.acquire_lock("x")
        assert grant.acquired
        assert await manager.session.release_lock("x", grant.lock_id)

    for moment in range(15) if connected else range(0, 60, 2):
        on_asyncio(store, partial(work, moment=moment))


def test_a_block_that_stalls_the_loop_gets_lease_lost(store: StoreServer) -> None:
    async def work(manager: CacheManager[AsyncStore]) -> None:
        async with manager.session.lock("x", ttl=0.3) as hold:
            late = time.monotonic() + 0.4
            wait_until(lambda: time.monotonic() > late)  # as a long computation would
            assert not hold.is_alive()

    with pytest.raises(LeaseLostError):
        on_asyncio(store, work)
