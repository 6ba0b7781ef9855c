"""A manager of one side used as one of the other, and a manager on asyncio in a second event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from cache import CacheManager
from domain.errors import InvalidInputError
from tests.support.build import cache_settings
from tests.support.stores.server import StoreServer

#: Asyncio objects, used as blocking ones.
BLOCKING: dict[str, Callable[[Any], Any]] = {
    "with manager": lambda manager: manager.__enter__(),
    "manager.close()": lambda manager: manager.close(),
    "with session.lock": lambda manager: manager.session.lock("x").__enter__(),
}
#: Blocking objects, used as asyncio ones.
ASYNCIO: dict[str, Callable[[Any], Any]] = {
    "async with manager": lambda manager: manager.__aenter__(),
    "await manager.aclose()": lambda manager: manager.aclose(),
    "async with session.lock": lambda manager: manager.session.lock("x").__aenter__(),
}


@pytest.mark.parametrize("use", BLOCKING.values(), ids=BLOCKING)
def test_a_manager_on_asyncio_does_not_block(store: StoreServer, use: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError, match=r"for asyncio .* use `async with`"):
        use(CacheManager.connect_async(cache_settings(store)))


@pytest.mark.parametrize("use", ASYNCIO.values(), ids=ASYNCIO)
def test_a_blocking_manager_is_not_awaited(store: StoreServer, use: Callable[[Any], Any]) -> None:
    with (
        CacheManager.connect(cache_settings(store)) as manager,
        pytest.raises(TypeError, match=r"not for asyncio .* use `with`"),
    ):
        asyncio.run(use(manager))


@pytest.mark.parametrize("connect", [CacheManager.connect, CacheManager.connect_async])
@pytest.mark.parametrize("wrong", ["redis://:secret@host:6379", None, {}])
def test_what_is_no_settings_is_refused(connect: Callable[[Any], Any], wrong: object) -> None:
    with pytest.raises(InvalidInputError, match=r"Settings\(cache_addr=") as caught:
        connect(wrong)
    assert "secret" not in str(caught.value)


async def many(manager: Any) -> int:
    """More round trips at a time than there are connections yet."""
    await asyncio.gather(*(manager.service.set("seen:x", 1, 60) for _ in range(50)))
    return int(await manager.service.increment("seen:n"))


async def many_and_close(manager: Any) -> int:
    async with manager:
        return await many(manager)


def test_a_closed_manager_is_used_in_another_event_loop(store: StoreServer) -> None:
    manager = CacheManager.connect_async(cache_settings(store))
    assert [asyncio.run(many_and_close(manager)) for _ in range(3)] == [1, 2, 3]


@pytest.mark.parametrize(
    "use", [lambda manager: manager.session.get_session("s-1"), many, lambda m: m.aclose()]
)
def test_an_open_manager_is_refused_in_a_second_event_loop(
    store: StoreServer, use: Callable[[Any], Any]
) -> None:
    manager = CacheManager.connect_async(cache_settings(store))
    refused: list[BaseException] = []

    async def second() -> None:
        with pytest.raises(InvalidInputError, match="event loop that first used them") as caught:
            await use(manager)
        refused.append(caught.value)

    async def first() -> None:
        async with manager:
            await many(manager)
            thread = threading.Thread(target=asyncio.run, args=(second(),))
            thread.start()
            await asyncio.to_thread(thread.join)
            await many(manager)

    asyncio.run(first())
    assert len(refused) == 1
