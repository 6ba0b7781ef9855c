"""A job waits for a slot of its process while slots change hands, in turn."""

from __future__ import annotations

import asyncio

import pytest

from domain.errors import CancelledError
from worker.limits.slot_queue import SlotQueue

HOST = "host:a"
LONG, SHORT = 30.0, 0.01


def go_on() -> None:
    """Who waits need not stop."""


def test_who_has_to_stop_waits_no_longer_though_none_is_freed() -> None:
    def stop() -> None:
        raise CancelledError("a cancel is requested")

    async def run() -> bool:
        queue = SlotQueue(LONG)
        queue.taken(HOST)
        with pytest.raises(CancelledError):
            await asyncio.wait_for(queue.wait(HOST, stop), 10)
        return queue.freed(HOST)

    assert asyncio.run(run()) is False, "it is in the line no more"


def test_a_slot_that_is_freed_is_for_the_first_that_waits() -> None:
    async def run() -> list[str]:
        queue, order = SlotQueue(LONG), list[str]()
        queue.taken(HOST)

        async def wait(name: str) -> None:
            assert await queue.wait(HOST, go_on)
            order.append(name)

        tasks = [asyncio.create_task(wait(name)) for name in ("first", "second")]
        await asyncio.sleep(0)
        for task in tasks:
            assert queue.freed(HOST)
            await task
        assert not queue.freed(HOST), "none waits any more"
        return order

    assert asyncio.run(run()) == ["first", "second"]


def test_none_waits_where_no_slot_has_changed_hands() -> None:
    async def run() -> bool:
        queue = SlotQueue(LONG)
        queue.taken("host:other")
        return await queue.wait(HOST, go_on)

    assert asyncio.run(run()) is False


def test_waiting_ends_when_no_slot_changes_hands_any_more() -> None:
    async def run() -> bool:
        queue = SlotQueue(SHORT)
        queue.taken(HOST)
        return await queue.wait(HOST, go_on)

    assert asyncio.run(run()) is False


def test_who_gave_up_is_passed_over() -> None:
    async def run() -> None:
        queue = SlotQueue(SHORT)
        queue.taken(HOST)
        assert not await queue.wait(HOST, go_on)
        queue = SlotQueue(LONG)
        queue.taken(HOST)
        given_up, patient = (asyncio.create_task(queue.wait(HOST, go_on)) for _ in range(2))
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.wait([given_up])
        assert queue.freed(HOST)
        assert await patient

    asyncio.run(run())


def test_lines_of_long_ago_are_forgotten() -> None:
    async def run() -> int:
        queue = SlotQueue(LONG)
        for number in range(5000):
            queue.taken(f"host:{number}")
        return len(queue._lines)

    assert asyncio.run(run()) <= 1000


def test_who_gave_up_leaves_nothing() -> None:
    async def run() -> int:
        queue = SlotQueue(SHORT)
        for _ in range(10):
            queue.taken(HOST)
            assert not await queue.wait(HOST, go_on)
        return len(queue._lines[HOST].waiting)

    assert asyncio.run(run()) == 0


def test_the_line_is_in_order_whenever_one_has_come() -> None:
    async def run() -> list[str]:
        queue, order = SlotQueue(LONG), list[str]()
        queue.taken(HOST)

        async def wait(name: str) -> None:
            assert await queue.wait(HOST, go_on, order=name[0])
            order.append(name)

        names = ["c", "a1", "b", "a2"]
        tasks = [asyncio.create_task(wait(name)) for name in names]
        await asyncio.sleep(0)
        for _ in names:
            done = len(order)
            assert queue.freed(HOST)
            while len(order) == done:
                await asyncio.sleep(0)
        await asyncio.gather(*tasks)
        return order

    assert asyncio.run(run()) == ["a1", "a2", "b", "c"]


def test_the_first_alone_asks_the_store_now_and_then() -> None:
    async def run() -> tuple[bool, bool]:
        queue = SlotQueue(LONG)
        queue.taken(HOST)
        second = asyncio.create_task(queue.wait(HOST, go_on, order="2", asks=True))
        await asyncio.sleep(0)
        first = asyncio.create_task(queue.wait(HOST, go_on, order="1", asks=True))
        asked = await asyncio.wait_for(first, 30)
        is_left = not second.done()
        assert await asyncio.wait_for(second, 30), "it is the first now"
        return asked, is_left

    assert asyncio.run(run()) == (True, True)


def test_who_asks_has_to_stop_first() -> None:
    def stop() -> None:
        raise CancelledError("a cancel is requested")

    async def run() -> None:
        queue = SlotQueue(LONG)
        queue.taken(HOST)
        with pytest.raises(CancelledError):
            await asyncio.wait_for(queue.wait(HOST, stop, asks=True), 30)

    asyncio.run(run())


def test_a_slot_that_changed_hands_elsewhere_counts() -> None:
    async def run() -> tuple[bool, bool]:
        queue = SlotQueue(LONG)
        queue.taken(HOST, ago=LONG / 2)
        queue.taken("host:old", ago=2 * LONG)
        asked = await queue.wait(HOST, go_on, asks=True)
        return asked, await queue.wait("host:old", go_on, asks=True)

    assert asyncio.run(run()) == (True, False)
