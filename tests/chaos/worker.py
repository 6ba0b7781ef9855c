"""A download worker whose clock can be set wrong: ``python -m tests.chaos.worker FILE …``.

FILE holds a `WorkerFaults`. The fault is injected here and not in the product: this module replaces the
process' wall clock.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.chaos.fault_injector import WorkerFaults


def break_clock(faults: Callable[[], WorkerFaults]) -> None:
    """Make `time.time` return a wrong time. Call this before any module imports it by name."""
    right, right_ns = time.time, time.time_ns
    time.time = lambda: right() + faults().clock_ahead
    time.time_ns = lambda: right_ns() + round(faults().clock_ahead * 1e9)


def break_runtime_clock(faults: Callable[[], WorkerFaults]) -> None:
    """Give this process's runtime a wrong clock. Call this before any module imports its builder."""
    from worker import runtime

    build = runtime.build_runtime

    def now() -> datetime:
        return datetime.now(UTC) + timedelta(seconds=faults().clock_ahead)

    def build_with_wrong_clock(*arguments: Any, **options: Any) -> Any:
        return dataclasses.replace(build(*arguments, **options), now=now)

    runtime.build_runtime = build_with_wrong_clock


def main() -> None:
    """Read the file named on the command line, break what it lists, and run the worker."""
    faults = WorkerFaults.reader(Path(sys.argv.pop(1)))
    break_clock(faults)
    break_runtime_clock(faults)

    from worker.celery_ext.main import main as program

    sys.exit(program())


if __name__ == "__main__":
    main()
