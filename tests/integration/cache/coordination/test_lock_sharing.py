"""One lock object used by threads, tasks, forked children and nested blocks: one holder at a time.

| used by | at once | after it expired | ends it |
|---|---|---|---|
| another thread or task | kept out | an entry of its own | only its own entry |
| the same thread or task | refused | refused within the block | its own entry |
| a forked child | kept out | an entry of its own | not its parent's |
| one that is cancelled, or whose block fails | | | its own entry |
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, ExitStack
from typing import Any

import pytest

from cache import AsyncStore, CacheManager
from domain.errors import LeaseLostError, LockTakenError
from tests.support.build import Connect, cache_manager, cache_settings
from tests.support.servers.tcp_proxy import Proxy
from tests.support.stores.server import StoreServer
from tests.support.wait import wait_until

KEY = "seen:lock:x"


def in_thread(work: Callable[[], Any]) -> Any:
    """Run something in a thread of its own; return or raise what it does."""
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(work())
        except Exception as error:
            results.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    (result,) = results
    if isinstance(result, Exception):
        raise result
    return result


class Room:
    """Counts who is inside at the same time."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._inside = 0
        self.most = self.visits = 0

    def __enter__(self) -> None:
        with self._mutex:
            self._inside += 1
            self.visits += 1
            self.most = max(self.most, self._inside)

    def __exit__(self, *error: object) -> None:
        with self._mutex:
            self._inside -= 1


# ── one object, many users at once ──────────────────────────────────────────────────────────────


def test_threads_that_share_a_block_lock_are_never_two_inside(manager: CacheManager) -> None:
    lock, room = manager.session.lock("x", wait=60), Room()

    def visit() -> None:
        for _ in range(5):
            with lock, room:
                time.sleep(0.001)

    threads = [threading.Thread(target=visit) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (room.most, room.visits) == (1, 15)
    assert not manager.client.exists(KEY)


def test_threads_that_share_a_lock_are_never_two_inside(store: StoreServer) -> None:
    with cache_manager(store) as manager:
        lock, room = manager.lock("x"), Room()

        def visit() -> None:
            for _ in range(5):
                wait_until(lock.acquire)
                with room:
                    time.sleep(0.001)
                assert lock.release()

        threads = [threading.Thread(target=visit) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (room.most, room.visits) == (1, 15)


def test_tasks_that_share_a_lock_are_never_two_inside(store: StoreServer) -> None:
    async def main() -> None:
        async with CacheManager.connect_async(cache_settings(store)) as manager:
            block_lock, lock, room = manager.session.lock("x", wait=60), manager.lock("y"), Room()

            async def enter() -> None:
                for _ in range(5):
                    async with block_lock:
                        with room:
                            await asyncio.sleep(0.001)

            async def acquire() -> None:
                for _ in range(5):
                    while not await lock.acquire():
                        await asyncio.sleep(0)
                    with room:
                        await asyncio.sleep(0.001)
                    assert await lock.release()

            for visit in (enter, acquire):
                await asyncio.gather(*(visit() for _ in range(3)))
            assert (room.most, room.visits) == (1, 30)

    asyncio.run(main())


def in_child(work: Callable[[], bool]) -> bool:
    """Run something in a forked child; say what it returned."""
    child = os.fork()
    if not child:
        try:
            os._exit(0 if work() else 1)
        finally:
            os._exit(2)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) == 0


def test_forked_children_that_share_a_lock_have_tokens_of_their_own(store: StoreServer) -> None:
    with cache_manager(store) as manager:
        lock, block_lock = manager.lock("x"), manager.session.lock("y")

        def try_both() -> bool:
            with block_lock:
                return bool(lock.acquire())

        assert in_child(try_both)
        # The second child is a copy of the same parent; the first one still has the lock.
        assert not in_child(try_both)


def test_a_child_that_was_forked_inside_does_not_hold_the_lock(store: StoreServer) -> None:
    with cache_manager(store) as manager:
        lock, block_lock = manager.lock("x"), manager.session.lock("y")
        assert lock.acquire()

        def use_what_the_parent_holds() -> bool:
            held.check()
            return True

        def try_everything() -> bool:
            with pytest.raises(LeaseLostError):
                use_what_the_parent_holds()
            assert not held.is_alive()
            assert not block_lock.is_alive()
            with pytest.raises(LeaseLostError):
                block_lock.__exit__(None, None, None)
            with pytest.raises(LockTakenError):
                block_lock.__enter__()
            return not lock.acquire() and not lock.extend() and not lock.release()

        with block_lock as held:
            assert in_child(try_everything)
            held.check()
            assert block_lock.is_alive()
        assert lock.release()


# ── entering twice ──────────────────────────────────────────────────────────────────────────────


def test_a_block_within_a_block_of_the_same_lock_is_refused_at_once(store: StoreServer) -> None:
    with cache_manager(store) as manager:
        lock = manager.session.lock("x", wait=600)
        with lock as held:
            with pytest.raises(LockTakenError, match="already, and cannot enter it twice"), lock:
                pytest.fail("the same thread is inside twice")
            held.check()
            assert manager.client.get(KEY) == held.lock.token.encode()
        assert not manager.client.exists(KEY)


def test_a_task_is_refused_to_enter_its_own_lock_twice(store: StoreServer) -> None:
    async def main() -> None:
        async with CacheManager.connect_async(cache_settings(store)) as manager:
            lock = manager.session.lock("x", wait=600)
            async with lock as held:
                with pytest.raises(LockTakenError, match="cannot enter it twice"):
                    async with lock:
                        pytest.fail("the same task is inside twice")
                held.check()

    asyncio.run(main())


@pytest.mark.parametrize("fails", [False, True])
def test_each_block_has_a_token_of_its_own(manager: CacheManager, fails: bool) -> None:
    lock, tokens = manager.session.lock("x"), set()
    for _ in range(3):
        with ExitStack() as stack:
            if fails:
                stack.enter_context(pytest.raises(ZeroDivisionError))
            tokens.add(stack.enter_context(lock).lock.token)
            if fails:
                1 / 0  # noqa: B018
    assert len(tokens) == 3
    assert not manager.client.exists(KEY)


def test_a_lock_that_expired_inside_is_not_the_second_visitors(manager: CacheManager) -> None:
    lock = manager.session.lock("x")
    entered, leave = threading.Event(), threading.Event()

    def visit() -> None:
        with lock:
            entered.set()
            leave.wait(60)

    visitor = threading.Thread(target=visit)
    with ExitStack() as stack:
        first = stack.enter_context(lock)
        manager.client.delete(KEY)
        visitor.start()
        assert entered.wait(60)
        token = manager.client.get(KEY)
        assert token != first.lock.token.encode()
        with pytest.raises(LeaseLostError):
            stack.close()
        assert manager.client.get(KEY) == token
    leave.set()
    visitor.join()
    assert not manager.client.exists(KEY)


def test_a_lock_that_expired_can_be_acquired_again(manager: CacheManager) -> None:
    lock = manager.lock("x", ttl=60)
    assert lock.acquire()
    first = lock.token
    manager.client.delete(KEY)
    assert lock.acquire()
    assert lock.token != first
    assert lock.release()


# ── released by another ─────────────────────────────────────────────────────────────────────────


def test_only_the_thread_that_acquired_a_lock_releases_it(store: StoreServer) -> None:
    with cache_manager(store) as manager:
        lock = manager.lock("x")
        assert lock.acquire()
        for use in (lock.acquire, lock.extend, lock.release):
            assert in_thread(use) is False
        assert manager.client.get(KEY) == lock.token.encode()
        assert lock.release()


def test_only_the_task_that_acquired_a_lock_releases_it(store: StoreServer) -> None:
    async def main() -> None:
        async with CacheManager.connect_async(cache_settings(store)) as manager:
            lock = manager.lock("x")
            assert await lock.acquire()
            for use in (lock.acquire, lock.extend, lock.release):
                assert await asyncio.create_task(use()) is False
            assert await lock.release()

    asyncio.run(main())


def test_a_lock_acquired_within_a_time_limit_is_its_callers(store: StoreServer) -> None:
    """`wait_for` runs what it waits for in a task of its own, which has ended then."""

    async def main() -> None:
        async with CacheManager.connect_async(cache_settings(store)) as manager:
            lock = manager.lock("x")
            assert await asyncio.wait_for(lock.acquire(), 60)
            assert await asyncio.wait_for(lock.extend(), 60)
            assert await asyncio.wait_for(lock.release(), 60)

    asyncio.run(main())


def test_a_lock_of_a_thread_that_ended_can_be_released(store: StoreServer) -> None:
    with cache_manager(store) as manager:
        lock = manager.lock("x")
        assert in_thread(lock.acquire)
        assert lock.release()


def test_a_block_may_end_in_another_thread_than_it_began_in(store: StoreServer) -> None:
    with cache_manager(store) as manager:
        stack = ExitStack()
        held = stack.enter_context(manager.session.lock("x"))
        in_thread(held.check)
        in_thread(stack.close)
        assert not manager.client.exists(KEY)
        assert not held.is_alive()


def test_a_block_may_end_in_another_task_than_it_began_in(store: StoreServer) -> None:
    async def main() -> None:
        async with CacheManager.connect_async(cache_settings(store)) as manager:
            stack = AsyncExitStack()
            await stack.enter_async_context(manager.session.lock("x"))
            await asyncio.create_task(stack.aclose())
            assert await manager.lock("x").acquire()

    asyncio.run(main())


# ── cancelled, or without an answer ─────────────────────────────────────────────────────────────

Acquire = Callable[[CacheManager[AsyncStore]], Any]
ACQUISITIONS: dict[str, Acquire] = {
    "Lock.acquire": lambda manager: manager.lock("x", ttl=60).acquire(),
    "acquire_lock": lambda manager: manager.session.acquire_lock("x", 60),
}


@pytest.mark.parametrize("name", ACQUISITIONS)
def test_an_acquisition_cancelled_at_any_moment_leaves_the_lock_free(
    store: StoreServer, name: str
) -> None:
    async def main() -> None:
        async with CacheManager.connect_async(cache_settings(store)) as manager:
            cancelled = 0
            for moment in range(30):
                await manager.ping()
                await manager.session.get_user("ada")
                task = asyncio.ensure_future(ACQUISITIONS[name](manager))
                for _ in range(moment):
                    await asyncio.sleep(0)
                cancelled += task.cancel()
                await asyncio.wait([task])
                if not task.cancelled():
                    await manager.service.delete(KEY)
                assert not await manager.service.exists(KEY), moment
            assert cancelled > 3

    asyncio.run(main())


def test_an_attempt_without_an_answer_is_recognised_with_its_full_life(
    store: StoreServer, connect: Connect
) -> None:
    with Proxy(store.port) as proxy, connect(store, cache_addr=proxy.addr) as manager:
        manager.ping()
        lock = manager.lock("x", ttl=60)
        proxy.cut_after_request(b"\r\nSET\r\n")
        with pytest.raises(Exception, match="does not answer"):
            lock.acquire()
        manager.client.pexpire(KEY, 5000)
        assert lock.acquire()
        assert manager.client.pttl(KEY) > 50_000
        assert not lock.acquire()
