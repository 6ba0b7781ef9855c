"""Places of a worker: one host or user has all of them, until jobs of others are queued."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from domain.errors import HostBusyError
from tests.support.services.system import System
from worker.limits import concurrency_shares
from worker.limits.concurrency_shares import ConcurrencyShares

HERE, THERE = "http://here.example/", "http://there.example/"


@pytest.fixture
def shares(any_system: System, monkeypatch: pytest.MonkeyPatch) -> ConcurrencyShares:
    """The shares of a worker with four places: three for one host."""
    monkeypatch.setattr(concurrency_shares, "CHECK_INTERVAL", 0.0)
    shares = ConcurrencyShares(any_system.runtime.jobs, 75)
    shares.concurrency = 4
    return shares


def hold(shares: ConcurrencyShares, number: int, host: str, user: str | None = None) -> ExitStack:
    stack = ExitStack()
    for _ in range(number):
        stack.enter_context(held(shares, host, user))
    return stack


@contextmanager
def held(shares: ConcurrencyShares, host: str, user: str | None = None) -> Iterator[None]:
    """Hold a place as an attempt does."""
    asyncio.run(shares.look_ahead(host, user, asyncio.to_thread))
    release = shares.hold(host, user)
    try:
        yield
    finally:
        release()


def refusal(shares: ConcurrencyShares, host: str, user: str | None = None) -> str:
    with pytest.raises(HostBusyError) as caught, held(shares, host, user):
        pass
    return caught.value.code


def test_host_has_all_places_while_no_other_is_queued(
    any_system: System, shares: ConcurrencyShares
) -> None:
    any_system.submit(HERE + "a")
    with hold(shares, 9, "here.example"):
        pass


def test_host_has_its_share_while_others_are_queued(
    any_system: System, shares: ConcurrencyShares
) -> None:
    with hold(shares, 3, "here.example"):
        any_system.submit(THERE + "a")
        assert refusal(shares, "here.example") == "host_busy"
        with held(shares, "there.example", None):
            pass
    with hold(shares, 3, "here.example"):  # what was held is free again
        pass


def test_user_has_its_share_while_others_are_queued(
    any_system: System, shares: ConcurrencyShares
) -> None:
    with ExitStack() as stack:
        for number in range(3):
            stack.enter_context(held(shares, f"{number}.example", "ada"))
        any_system.submit(HERE + "a", user_id="ada")
        with held(shares, "4.example", "ada"):
            pass
        any_system.submit(HERE + "b")  # of no user
        assert refusal(shares, "4.example", "ada") == "user_busy"
        with held(shares, "4.example", "bob"), held(shares, "4.example", None):
            pass


@pytest.mark.parametrize(("number", "percent"), [(None, 75), (4, 100), (1, 75)])
def test_no_share(any_system: System, shares: ConcurrencyShares, number: Any, percent: int) -> None:
    """Of an unknown number of places, of all of them, and of a single one."""
    any_system.submit(THERE + "a")
    shares.concurrency, shares._percent = number, percent
    with hold(shares, 1 if number == 1 else 4, "here.example"):
        pass


def test_sql_is_asked_in_a_thread_and_once_for_all_who_wait(
    any_system: System, shares: ConcurrencyShares, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given ten attempts at one host that look ahead at the same time."""
    monkeypatch.setattr(concurrency_shares, "CHECK_INTERVAL", 60.0)
    any_system.submit(THERE + "a")
    asked: list[Any] = []

    async def look_ahead() -> None:
        def in_thread(ask: Callable[[Any], None], holder: Any) -> Awaitable[None]:
            asked.append(holder)
            return asyncio.to_thread(ask, holder)

        looks = (shares.look_ahead("here.example", None, in_thread) for _ in range(10))
        await asyncio.gather(*looks)

    with hold(shares, 3, "here.example"):
        asyncio.run(look_ahead())
        assert asked == [("host", "here.example")]
        any_system.runtime.database.close()
        monkeypatch.setattr(any_system.runtime.jobs, "has_queued_of_others", None)
        assert refusal(shares, "here.example") == "host_busy"  # without another look at SQL
