"""The lag of an event loop."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from worker.metrics import loop_lag
from worker.metrics.instruments import Instruments, encode
from worker.metrics.loop_lag import LoopLag

SUM = encode("seen_event_loop_lag_seconds", "api", "sum")


def test_blocked_loop_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_lag, "_INTERVAL", 0.01)
    instruments, found = Instruments(), dict[str, float]()

    async def block() -> None:
        LoopLag(instruments, "api").start()
        time.sleep(0.2)
        while SUM not in found:
            await asyncio.sleep(0)
            found.update(instruments.take())

    asyncio.run(block())
    assert found[SUM] > 0.15


def test_loop_is_measured_once() -> None:
    async def timers() -> int:
        loop: Any = asyncio.get_running_loop()
        lag = LoopLag(Instruments(), "worker")
        for _ in range(3):
            lag.start()
        return len(loop._scheduled)

    assert asyncio.run(timers()) == 1
