"""The Celery app (``celery -A worker.app``), and what a process does when it starts and ends."""

from __future__ import annotations

import logging
import os
import threading
from typing import Any

from celery import Celery, signals

import settings as settings_module
from worker.broker import Broker
from worker.drain import Drain
from worker.runtime import Runtime, build_runtime

logger = logging.getLogger(__name__)

app = Celery("seen")
app.config_from_object("celeryconfig")
app.steps["worker"].add("worker.shutdown:Shutdown")

#: Begins when this process, or the parent it was forked from, is told to end.
drain = Drain()

_mutex = threading.Lock()
_runtimes: dict[int, Runtime] = {}


def current_runtime() -> Runtime:
    """Return this process's runtime, built at its first use: a forked child gets its own."""
    with _mutex:
        runtime = _runtimes.get(os.getpid())
        if runtime is None:
            _runtimes.clear()  # a parent's connections are not ours to use, nor to close
            runtime = build_runtime(settings_module.load(), Broker(app), drain=drain)
            _runtimes[os.getpid()] = runtime
        return runtime


def close_runtime() -> None:
    """Let go of what this process holds, if it holds anything."""
    with _mutex:
        runtime = _runtimes.pop(os.getpid(), None)
    if runtime is not None:
        runtime.close()


@signals.after_setup_logger.connect
def _quieten(**_: Any) -> None:
    """Leave out two lines a message that name Celery's ids: the runner's one line names the job."""
    for name in ("celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(name).setLevel(logging.WARNING)


@signals.worker_process_shutdown.connect
@signals.worker_shutdown.connect
def _close(**_: Any) -> None:
    close_runtime()
