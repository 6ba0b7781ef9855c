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
from worker.queues import DOWNLOAD_QUEUES
from worker.runtime import Runtime, build_runtime
from worker.sweep import Sweeper

logger = logging.getLogger(__name__)

app = Celery("seen")
app.config_from_object("celeryconfig")

#: Set when this process, or the parent it was forked from, shuts down.
_drain = Drain()

#: Of the process that consumes, where that is a download worker.
_sweeper: Sweeper | None = None

_mutex = threading.Lock()
_runtimes: dict[int, Runtime] = {}


def current_runtime() -> Runtime:
    """Return this process's runtime, built at its first use: a forked child gets its own."""
    with _mutex:
        runtime = _runtimes.get(os.getpid())
        if runtime is None:
            _runtimes.clear()  # a parent's connections are not ours to use, nor to close
            runtime = build_runtime(settings_module.load(), Broker(app), drain=_drain)
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


@signals.worker_ready.connect
def _begin_to_sweep(sender: Any, **_: Any) -> None:
    """Look after the disk, which only a download worker has."""
    global _sweeper
    if set(DOWNLOAD_QUEUES) & set(sender.app.amqp.queues.consume_from):
        runtime = current_runtime()
        _sweeper = Sweeper(runtime, runtime.settings.sweep_interval)
        _sweeper.start()


@signals.worker_shutting_down.connect
def _begin_drain(**_: Any) -> None:
    """Stop every transfer at its next step. Runs inside the signal handler, so it only sets a flag."""
    _drain.begin()


@signals.worker_shutdown.connect
def _end_sweeping(**_: Any) -> None:
    if _sweeper is not None:
        _sweeper.close()


@signals.worker_process_shutdown.connect
@signals.worker_shutdown.connect
def _close(**_: Any) -> None:
    close_runtime()
