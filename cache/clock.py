"""The clock that leases run by."""

from __future__ import annotations

import time


def lease_clock() -> float:
    """Return seconds that also pass while the process is stopped or the machine sleeps.

    CLOCK_MONOTONIC stands still during suspend; the store's TTL does not.
    """
    return time.clock_gettime(_CLOCK)


_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
