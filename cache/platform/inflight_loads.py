"""Flights: the loads that run in this process, each led by one caller and awaited by the others."""

from __future__ import annotations

import math
import secrets
import threading
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

from cache.platform import codec
from cache.store.fork import begin_in_each_process

T = TypeVar("T")


class Landing(Generic[T]):
    """How a flight ended, for those who waited: a value, nothing, or an error."""

    __slots__ = ("began", "error", "raw", "value")

    def __init__(
        self,
        raw: bytes | None = None,
        value: T | None = None,
        error: Exception | None = None,
        *,
        began: float = math.inf,
    ) -> None:
        self.raw = raw
        self.value = value
        self.error = error
        self.began = began
        """When its value began to be read, by the monotonic clock."""


#: No end at all (its leader was cancelled, or another process loads): who waited begins anew.
AGAIN: Landing[Any] = Landing()


class Flight:
    """One load that runs in this process."""

    __slots__ = ("claimed", "landing", "token")

    def __init__(self) -> None:
        self.landing: Future[Landing[Any]] = Future()
        self.token = secrets.token_hex(codec.TOKEN_BYTES // 2).encode()
        """Of the claim under which it loads."""
        self.claimed = False


class Flights:
    """The loads that run in this process, by key and model."""

    def __init__(self) -> None:
        begin_in_each_process(self, Flights._begin)

    def _begin(self) -> None:
        # Reentrant: the garbage collector may close a plan, and so land its flight, anywhere.
        self._mutex = threading.RLock()
        self._running: dict[Any, Flight] = {}

    def claimed(self, name: Any) -> Flight | None:
        """Return the flight of that name if it has its claim."""
        running = self._running.get(name)
        return running if running is not None and running.claimed else None

    def join(self, name: Any, outdated: Flight | None = None) -> tuple[Flight, bool]:
        """Return the flight of that name, and whether the caller leads it.

        Args:
            outdated: a flight that is not to be joined: a new one takes its place.
        """
        with self._mutex:
            running = self._running.get(name)
            if running is not None and running is not outdated:
                return running, False
            flight = self._running[name] = Flight()
            return flight, True

    def land(self, name: Any, flight: Flight, landing: Landing[Any]) -> None:
        """End a flight that the caller leads."""
        with self._mutex:
            if self._running.get(name) is flight:
                del self._running[name]
        flight.landing.set_result(landing)
