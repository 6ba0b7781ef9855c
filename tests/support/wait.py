"""Polling, the one way a test waits for something to become true."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(
    condition: Callable[[], T],
    *,
    deadline: float = 30.0,
    interval: float = 0.02,
    what: str = "",
) -> T:
    """Return the first truthy value of `condition`, asked every `interval` seconds.

    `deadline` is in seconds from now; the condition is asked at least once.
    Raises `AssertionError` naming `what` and the last value seen when the deadline passes.
    Whatever `condition` itself raises comes through unchanged.
    """
    end = time.monotonic() + deadline
    while True:
        # The clock is read first, so that the last question is asked at or after the deadline.
        last_chance = time.monotonic() >= end
        value = condition()
        if value:
            return value
        if last_chance:
            name = what or getattr(condition, "__qualname__", repr(condition))
            raise AssertionError(f"not within {deadline:g} s: {name}; last value: {value!r}")
        time.sleep(interval)
