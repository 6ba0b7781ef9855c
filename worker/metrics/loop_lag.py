"""Measures how late an event loop runs its timers."""

from __future__ import annotations

import asyncio

from worker.metrics.catalog import LOOP_LAG
from worker.metrics.instruments import Instruments

#: Seconds between two timers.
_INTERVAL = 1.0


class LoopLag:
    """Measures the loop on which `start` is called, as long as that runs.

    Args:
        instruments: of the process.
        process: worker or api.
    """

    def __init__(self, instruments: Instruments, process: str) -> None:
        self._instruments, self._process = instruments, process
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Start to measure the running loop, unless that is done already."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop = loop
            self._plan(loop)

    def _plan(self, loop: asyncio.AbstractEventLoop) -> None:
        due = loop.time() + _INTERVAL
        loop.call_at(due, self._run, loop, due)

    def _run(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        self._instruments.observe(LOOP_LAG, max(0.0, loop.time() - due), self._process)
        self._plan(loop)
