"""The clock that leases run by, and the server's as we know it."""

from __future__ import annotations

import time


def lease_clock() -> float:
    """Return seconds that also pass while the process is stopped or the machine sleeps.

    CLOCK_MONOTONIC stands still during suspend; the store's TTL does not.
    """
    return time.clock_gettime(_CLOCK)


_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class ServerClock:
    """The server's clock as last heard, carried on by ours: freshness is judged alike by everybody.

    Rather ahead than behind: what is served as fresh is fresh.
    """

    def __init__(self) -> None:
        self._ahead_ms: float | None = None

    @property
    def is_set(self) -> bool:
        return self._ahead_ms is not None

    def set(self, now_ms: int, sent_at: float) -> None:
        self._ahead_ms = now_ms - sent_at * 1000

    def now_ms(self) -> float:
        return time.monotonic() * 1000 + (self._ahead_ms or 0.0)
