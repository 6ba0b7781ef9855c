"""``python -m tests.chaos.worker FILE …``: a worker with a clock to be wrong.

FILE holds a `Trouble`. The seam is here and nowhere in the product: the wall clock of the process is
another one.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.chaos.fault_injector import Trouble


def break_clock(trouble: Callable[[], Trouble]) -> None:
    """Have `time.time` tell the wrong time. Before anybody imports it by name."""
    right, right_ns = time.time, time.time_ns
    time.time = lambda: right() + trouble().clock_ahead
    time.time_ns = lambda: right_ns() + round(trouble().clock_ahead * 1e9)


def break_runtime_clock(trouble: Callable[[], Trouble]) -> None:
    """Have the runtime of this process tell the wrong time. Before anybody imports its builder."""
    from worker import runtime

    build = runtime.build_runtime

    def now() -> datetime:
        return datetime.now(UTC) + timedelta(seconds=trouble().clock_ahead)

    def build_with_wrong_clock(*arguments: Any, **options: Any) -> Any:
        return dataclasses.replace(build(*arguments, **options), now=now)

    runtime.build_runtime = build_with_wrong_clock


def main() -> None:
    """Take the file off the command line, break what it tells of, and be the worker."""
    trouble = Trouble.reader(Path(sys.argv.pop(1)))
    break_clock(trouble)
    break_runtime_clock(trouble)

    from worker.celery_ext.main import main as program

    sys.exit(program())


if __name__ == "__main__":
    main()
