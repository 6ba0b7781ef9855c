"""The clock of leases, and an estimate of the server's clock."""

from __future__ import annotations

import time


def lease_clock() -> float:
    """Return monotonic seconds that include the time for which the machine is suspended.

    CLOCK_MONOTONIC stops during a suspend; TTLs in the store do not.
    """
    return time.clock_gettime(_CLOCK)


_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class ServerClock:
    """An estimate of the server's clock, so that all processes agree on what is fresh.

    It is never behind the server's: a value that it calls fresh is fresh.
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
