"""The loads that run in this process: one caller leads each load, the others wait for its result."""

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
    """The result of a load: a value, None for "there is none", or an error."""

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
        """The value as it is stored; None when it is not."""
        self.value = value
        self.error = error
        self.started_at = started_at
        """When reading the value started, by the monotonic clock."""


#: A load without a result: its leader was cancelled, or another process loads. Waiters try again.
RETRY: LoadResult[Any] = LoadResult()


class InflightLoad:
    """One load that runs in this process."""

    __slots__ = ("claimed", "result", "token")

    def __init__(self) -> None:
        self.result: Future[LoadResult[Any]] = Future()
        self.token = secrets.token_hex(codec.TOKEN_BYTES // 2).encode()
        """The token of its claim."""
        self.claimed = False


class InflightLoads:
    """The loads that run in this process, by key and model. Thread-safe."""

    def __init__(self) -> None:
        reset_after_fork(self, InflightLoads._reset)

    def _reset(self) -> None:
        # Reentrant: the garbage collector may close a flow, and so finish its load, at any point.
        self._mutex = threading.RLock()
        self._running: dict[Any, InflightLoad] = {}

    def claimed(self, name: Any) -> InflightLoad | None:
        """Return the load of `name` if it has claimed its key."""
        running = self._running.get(name)
        return running if running is not None and running.claimed else None

    def join(self, name: Any, outdated: InflightLoad | None = None) -> tuple[InflightLoad, bool]:
        """Return the load of `name`, and whether the caller leads it.

        Args:
            outdated: a load that lost its claim. It is not joined; a new load replaces it.
        """
        with self._mutex:
            running = self._running.get(name)
            if running is not None and running is not outdated:
                return running, False
            load = self._running[name] = InflightLoad()
            return load, True

    def finish(self, name: Any, load: InflightLoad, result: LoadResult[Any]) -> None:
        """Hand the result of a load to its waiters. Only its leader calls this."""
        with self._mutex:
            if self._running.get(name) is load:
                del self._running[name]
        load.result.set_result(result)
