"""A worker that suspends itself (SIGSTOP) once, at a chosen step, until SIGCONT.

    python -m tests.support.processes.stopping POINT worker …

The points are those at which a process may be paused for long and must find out, when it goes on, that
the job is not its own any more.
"""

from __future__ import annotations

import inspect
import os
import signal
import sys
import threading
from collections.abc import Callable
from functools import wraps
from typing import Any

from worker.attempts.attempt import Attempt
from worker.celery_ext.main import main

#: SQL has said that the job is still ours; the lease has not been asked yet.
AFTER_THE_FENCE = "after-the-fence"
#: The file is whole, synced and readable; what is missing is its final name.
BEFORE_THE_NAME = "before-the-name"

_POINTS: dict[str, tuple[Any, str]] = {
    AFTER_THE_FENCE: (Attempt, "_mark_verifying"),
    BEFORE_THE_NAME: (os, "fchmod"),
}


def _then_stop(function: Callable[..., Any]) -> Callable[..., Any]:
    stopped: list[bool] = []

    def stop_once() -> None:
        if not stopped:
            stopped.append(True)
            # To this thread: another one would stop the process only when this one has gone on.
            signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)

    @wraps(function)
    def wrapper(*arguments: Any) -> Any:
        result = function(*arguments)
        stop_once()
        return result

    @wraps(function)
    async def coroutine(*arguments: Any) -> Any:
        result = await function(*arguments)
        stop_once()
        return result

    return coroutine if inspect.iscoroutinefunction(function) else wrapper


if __name__ == "__main__":
    owner, name = _POINTS[sys.argv.pop(1)]
    setattr(owner, name, _then_stop(getattr(owner, name)))
    sys.exit(main())
