"""The loads that run in this process: one caller leads each, the others wait for its result."""

from __future__ import annotations

import math
import secrets
import threading
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

from cache.platform import codec
from cache.store.fork import reset_after_fork

T = TypeVar("T")


class LoadResult(Generic[T]):
    """How a load ended, for those who waited: a value, nothing, or an error."""

    __slots__ = ("error", "raw", "started_at", "value")

    def __init__(
        self,
        raw: bytes | None = None,
        value: T | None = None,
        error: Exception | None = None,
        *,
        started_at: float = math.inf,
    ) -> None:
        self.raw = raw
        self.value = value
        self.error = error
        self.started_at = started_at
        """When its value started_at to be read, by the monotonic clock."""


#: No end at all (its leader was cancelled, or another process loads): who waited begins anew.
RETRY: LoadResult[Any] = LoadResult()


class InflightLoad:
    """One load that runs in this process."""

    __slots__ = ("claimed", "result", "token")

    def __init__(self) -> None:
        self.result: Future[LoadResult[Any]] = Future()
        self.token = secrets.token_hex(codec.TOKEN_BYTES // 2).encode()
        """Of the claim under which it loads."""
        self.claimed = False


class InflightLoads:
    """The loads that run in this process, by key and model."""

    def __init__(self) -> None:
        reset_after_fork(self, InflightLoads._reset)

    def _reset(self) -> None:
        # Reentrant: the garbage collector may close a flow, and so land its load, anywhere.
        self._mutex = threading.RLock()
        self._running: dict[Any, InflightLoad] = {}

    def claimed(self, name: Any) -> InflightLoad | None:
        """Return the load of that name if it has its claim."""
        running = self._running.get(name)
        return running if running is not None and running.claimed else None

    def join(self, name: Any, outdated: InflightLoad | None = None) -> tuple[InflightLoad, bool]:
        """Return the load of that name, and whether the caller leads it.

        Args:
            outdated: a load that is not to be joined: a new one takes its place.
        """
        with self._mutex:
            running = self._running.get(name)
            if running is not None and running is not outdated:
                return running, False
            load = self._running[name] = InflightLoad()
            return load, True

    def finish(self, name: Any, load: InflightLoad, result: LoadResult[Any]) -> None:
        """End a load that the caller leads."""
        with self._mutex:
            if self._running.get(name) is load:
                del self._running[name]
        load.result.set_result(result)
