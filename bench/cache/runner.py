"""Measures in rounds of random order, so that disturbances of the machine affect all alike."""

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

from bench.cache.payloads import Page
from tests.support.stores.server import StoreServer

OURS = "ours"

#: A scenario that is prepared before every call is measured only in every third round.
PREPARED_EVERY = 3

Side = Literal["blocking", "asyncio"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One library in one scenario.

    Attributes:
        scenario: what is done; contenders of one scenario and side are compared.
        name: as shown; `OURS` for the one that the others are compared with.
        call: does it once; on asyncio it returns an awaitable.
        prepare: runs before each call and is not timed.
        expected: what `call` must return; None if that is not checked.
        min_ratio: the aim: it takes at least this many times as long as ours; None for no aim.
        max_seconds: the aim: it takes at most this long.
    """

    scenario: str
    name: str
    call: Callable[[], Any]
    prepare: Callable[[], Any] | None = None
    expected: Any = None
    min_ratio: float | None = 1.0
    max_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Environment:
    """What all contenders share.

    Attributes:
        store: the server.
        payloads: the values that are stored, by the name of their size.
        runner: the event loop.
        closing: closes everything at the end.
    """

    store: StoreServer
    payloads: dict[str, Page]
    runner: asyncio.Runner
    closing: ExitStack

    def wait(self, result: Any) -> Any:
        """Return `result`, or what it resolves to if it is awaitable."""
        return self.runner.run(_wait_for(result)) if inspect.isawaitable(result) else result

    def close_later(self, close: Callable[[], Any]) -> None:
        """Call a blocking or asyncio function at the end."""
        self.closing.callback(lambda: self.wait(close()))


#: Connects a library and yields its contenders. Raises ImportError when the library is not installed,
#: and SkippedError when it does not work with this server.
Library = Callable[[Environment], Iterator[Contender]]


class SkippedError(Exception):
    """A library cannot take part; the message says why."""


@dataclass(slots=True)
class Measurement:
    """One contender, its side, and what was measured: seconds a call, one value for each round."""

    contender: Contender
    side: Side
    calls: int = 1
    seconds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """The median of the rounds, in seconds a call."""
        return median(self.seconds)

    def ratio(self, other: Measurement) -> float:
        """Return how many times as long as `other` it took, by the median of the rounds."""
        pairs = zip(self.seconds, other.seconds, strict=True)
        return median(mine / its for mine, its in pairs)

    @property
    def quartiles(self) -> tuple[float, float]:
        """The first and third quartile of the rounds."""
        low, _, high = quantiles(self.seconds, n=4, method="inclusive")
        return low, high


def warm_up(measurement: Measurement, environment: Environment, slice_seconds: float) -> None:
    """Check what the contender returns, warm it up, and set how many calls fill a time slice."""
    contender = measurement.contender
    if contender.expected is not None:
        _check_result(contender, environment)
    if contender.prepare is not None:
        _measure(measurement, environment)
        return
    while (
        took := _best_of_three(measurement, environment)
    ) * measurement.calls < slice_seconds / 2:
        measurement.calls *= 2
    measurement.calls = max(1, round(slice_seconds / took))


def _check_result(contender: Contender, environment: Environment) -> None:
    found = environment.wait(contender.call())
    if isinstance(found, Mapping):
        found = found.values()
    if isinstance(contender.expected, list):
        found = list(found)
    if found != contender.expected:
        raise AssertionError(
            f"{contender.name} does not return what was stored: {contender.scenario}"
        )


def _best_of_three(measurement: Measurement, environment: Environment) -> float:
    """Return the shortest of three: one may include a cold start or a garbage collection."""
    return min(_measure(measurement, environment) for _ in range(3))


def run_rounds(
    scenarios: list[list[Measurement]], environment: Environment, rounds: int
) -> Iterator[None]:
    """Measure every contender once a round; yield after each.

    The contenders of a scenario run one after another. Each round has its own order.
    """
    # Objects that exist by now must not be traversed by collections during a measurement.
    gc.collect()
    gc.freeze()
    try:
        for number in range(rounds):
            rng = random.Random(number)
            for scenario in rng.sample(scenarios, len(scenarios)):
                if number % PREPARED_EVERY and scenario[0].contender.prepare is not None:
                    continue
                for measurement in rng.sample(scenario, len(scenario)):
                    gc.collect()
                    measurement.seconds.append(_measure(measurement, environment))
                    yield
    finally:
        gc.unfreeze()


def _measure(measurement: Measurement, environment: Environment) -> float:
    """Return the mean seconds a call over one time slice."""
    contender = measurement.contender
    if contender.prepare is not None:
        environment.wait(contender.prepare())
    if measurement.side == "asyncio":
        return environment.runner.run(_time_async_calls(contender.call, measurement.calls))
    return _time_calls(contender.call, measurement.calls)


def _time_calls(call: Callable[[], Any], calls: int) -> float:
    started = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - started) / calls


async def _time_async_calls(call: Callable[[], Any], calls: int) -> float:
    started = time.perf_counter()
    for _ in range(calls):
        await call()
    return (time.perf_counter() - started) / calls


async def _wait_for(awaitable: Any) -> Any:
    return await awaitable
