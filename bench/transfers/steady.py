"""What a client's process uses while all of its downloads run, without their starts and ends."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.transfers.origin import Origin

#: Seconds between two looks at the origin.
_INTERVAL = 0.1
_TICKS = os.sysconf("SC_CLK_TCK")


class SteadyState:
    """Watches, as a context manager, from the origin's first look with `count` responses to the last.

    Args:
        pid: returns the client's process, or None while there is none.
    """

    def __init__(self, origin: Origin, count: int, pid: Callable[[], int | None]) -> None:
        self._origin, self._count, self._pid = origin, count, pid
        self._first: tuple[float, float] | None = None
        self._last = (0.0, 0.0)
        self._has_ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._has_ended.set()
        self._thread.join()

    @property
    def seconds(self) -> float:
        """How long all downloads ran at once; 0 if they never did."""
        return 0.0 if self._first is None else self._last[0] - self._first[0]

    @property
    def of_a_core(self) -> float:
        """The processor seconds of a second while they did."""
        first = self._first or self._last
        return (self._last[1] - first[1]) / (self.seconds or 1.0)

    def _watch(self) -> None:
        while not self._has_ended.wait(_INTERVAL):
            pid = self._pid()
            if pid is not None and self._origin.responses() >= self._count:
                self._last = time.monotonic(), cpu_of(pid)
                self._first = self._first or self._last
            elif self._first is not None:
                return


def cpu_of(pid: int) -> float:
    """Return the processor seconds of a process so far; 0 if it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS
