"""A fair race: everybody in turn, in rounds, so that what disturbs the machine disturbs all alike."""

from __future__ import annotations

import asyncio
import gc
import inspect
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import Any, Literal

from bench.pages import Page
from tests.support.stores.server import StoreServer

OURS = "ours"

#: A row with something to prepare takes part in one round of so many.
SELDOM = 3

Side = Literal["blocking", "asyncio"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One contestant in one row.

    Attributes:
        row: what is done; those of one row and side are compared.
        who: `OURS` for the one that the others are compared with.
        call: does it once; on asyncio it returns an awaitable.
        before: done before each call, and not timed.
        returns: what `call` must return, where that is looked at.
        at_least: the aim: it takes at least this many times as long as ours; None for no aim.
        at_most: the aim: it takes at most this many seconds.
    """

    row: str
    who: str
    call: Callable[[], Any]
    before: Callable[[], Any] | None = None
    returns: Any = None
    at_least: float | None = 1.0
    at_most: float | None = None


@dataclass(frozen=True, slots=True)
class Course:
    """Where they race: one server, the same pages for all, one event loop.

    Attributes:
        store: the server.
        pages: what is stored, by its size in words.
        runner: the event loop.
        closing: what is to be closed at the end.
    """

    store: StoreServer
    pages: dict[str, Page]
    runner: asyncio.Runner
    closing: ExitStack

    def settle(self, result: Any) -> Any:
        """Return a result; one of asyncio is waited for."""
        return self.runner.run(_wait_for(result)) if inspect.isawaitable(result) else result

    def close_later(self, close: Callable[[], Any]) -> None:
        """Call a function of either side at the end."""
        self.closing.callback(lambda: self.settle(close()))


#: Sets itself up and says in which rows it takes part. Raises ImportError when it is not installed, and
#: LeftOutError when it does not work on this server.
Contestant = Callable[[Course], Iterator[Entry]]


class LeftOutError(Exception):
    """Why a contestant takes no part."""


@dataclass(slots=True)
class Lane:
    """One entry, its side, and what was measured: seconds a call, one for each round."""

    entry: Entry
    side: Side
    calls: int = 1
    seconds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Half of the rounds took less."""
        return median(self.seconds)

    def times(self, other: Lane) -> float:
        """How many times as long as another of its row it took, round by round."""
        pairs = zip(self.seconds, other.seconds, strict=True)
        return median(mine / its for mine, its in pairs)

    @property
    def quartiles(self) -> tuple[float, float]:
        """A quarter of the rounds took less than the first, a quarter more than the second."""
        low, _, high = quantiles(self.seconds, n=4, method="inclusive")
        return low, high


def warm_up(lane: Lane, course: Course, slice_seconds: float) -> None:
    """Look at what it returns, call it until it runs warm, and see how many calls make a slice."""
    entry = lane.entry
    if entry.returns is not None:
        found = course.settle(entry.call())
        if isinstance(found, Mapping):
            found = found.values()
        if isinstance(entry.returns, list):
            found = list(found)
        if found != entry.returns:
            raise AssertionError(f"{entry.who} does not return what was stored: {entry.row}")
    if entry.before is not None:
        _measure(lane, course)
        return
    while (took := _best(lane, course)) * lane.calls < slice_seconds / 2:
        lane.calls *= 2
    lane.calls = max(1, round(slice_seconds / took))


def _best(lane: Lane, course: Course) -> float:
    """Return the best of three: one may find everything cold, or collect everybody's garbage."""
    return min(_measure(lane, course) for _ in range(3))


def race(rows: list[list[Lane]], course: Course, rounds: int) -> Iterator[None]:
    """Measure every lane once a round, those of a row one after the other; yields after each.

    Each round has an order of its own.
    """
    # What stands in memory by now is nobody's garbage.
    gc.collect()
    gc.freeze()
    try:
        for number in range(rounds):
            chance = random.Random(number)
            for row in chance.sample(rows, len(rows)):
                # What has to be prepared anew for every call takes too long for every round.
                if number % SELDOM and row[0].entry.before is not None:
                    continue
                for lane in chance.sample(row, len(row)):
                    gc.collect()
                    lane.seconds.append(_measure(lane, course))
                    yield
    finally:
        gc.unfreeze()


def _measure(lane: Lane, course: Course) -> float:
    """Return the mean of a slice in seconds a call."""
    if lane.entry.before is not None:
        course.settle(lane.entry.before())
    if lane.side == "asyncio":
        return course.runner.run(_timed_on_asyncio(lane.entry.call, lane.calls))
    return _timed(lane.entry.call, lane.calls)


def _timed(call: Callable[[], Any], calls: int) -> float:
    started = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - started) / calls


async def _timed_on_asyncio(call: Callable[[], Any], calls: int) -> float:
    started = time.perf_counter()
    for _ in range(calls):
        await call()
    return (time.perf_counter() - started) / calls


async def _wait_for(awaitable: Any) -> Any:
    return await awaitable
