"""The lag of an event loop."""

from __future__ import annotations

import asyncio
import time

import pytest

from worker.metrics import loop_lag
from worker.metrics.instruments import Instruments, encode
from worker.metrics.loop_lag import LoopLag

SUM = encode("seen_event_loop_lag_seconds", "api", "sum")


def lag(seconds: float, monkeypatch: pytest.MonkeyPatch) -> float:
    """Return the lag that is measured while something blocks the loop for so long."""
    monkeypatch.setattr(loop_lag, "_INTERVAL", 0.01)
    instruments, found = Instruments(), dict[str, float]()

    async def block() -> None:
        measured = LoopLag(instruments, "api")
        measured.start()
        measured.start()  # a second time: still one timer
        time.sleep(seconds)
        while SUM not in found:
            await asyncio.sleep(0)
            found.update(instruments.take())

    asyncio.run(block())
    assert sum(value for field, value in found.items() if field != SUM) == 1
    return found[SUM]


def test_blocked_loop_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lag(0.2, monkeypatch) >= 0.19


def test_lag_counts_from_when_the_timer_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    assert lag(0, monkeypatch) >= 0
