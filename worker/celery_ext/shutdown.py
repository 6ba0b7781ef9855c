"""How a worker process stops: at the first signal it drains, at the second or after a timeout it exits.

Exiting at once is safe. Bytes stay on disk. Locks are not released, because a thread that did not stop
may still write; when they have expired, `download.requeue_due` requeues the jobs that were running.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import threading
from types import FrameType
from typing import Any

from celery import bootsteps
from celery.platforms import EX_OK
from celery.worker import state
from celery.worker.components import Pool
from kombu.asynchronous import get_event_loop

import settings as settings_module
from worker.app import drain
from worker.celery_ext.pool import TaskPool
from worker.process import stop_signals

logger = logging.getLogger(__name__)

#: Seconds after which the process exits even if its log blocks.
_LOG_TIMEOUT = 1.0
#: Exit status of a process that did not finish its drain.
_FORCED_EXIT = 1


class Shutdown(bootsteps.StartStopStep):
    """A step of a Celery worker that handles the signals to stop, and limits the time of the drain."""

    requires = (Pool,)  # whose children are forked without our handlers

    def __init__(self, worker: Any, **options: Any) -> None:
        super().__init__(worker, **options)
        self._timeout = settings_module.load().drain_timeout
        self._worker = worker
        # Its `put` is reentrant, so a signal handler may call it.
        self._stop_requests: queue.SimpleQueue[str] = queue.SimpleQueue()

    def start(self, _worker: Any) -> None:
        """Replace the signal handlers that Celery has installed by now.

        Of those only SIGTERM's is used: SIGINT's exits with another status, and SIGQUIT's waits for the
        pool before it calls back. SIGHUP's replaces the process by a new one.
        """
        stop = signal.getsignal(signal.SIGTERM)  # Celery's, unless SIGTERM is ignored

        def handle(number: int, frame: FrameType | None) -> None:
            drain.start()
            self._stop_requests.put(signal.Signals(number).name)
            if callable(stop):
                stop(number, frame)
            else:
                vars(state)["should_stop"] = EX_OK  # what Celery's handler sets

        threading.Thread(target=self._watch, name="shutdown", daemon=True).start()
        stop_signals.handle(handle)

    def close(self, _worker: Any) -> None:
        """Start the drain where the worker stops without a signal, for example by remote control."""
        if not drain.has_started:
            drain.start()
            self._stop_requests.put("by Celery")

    def _watch(self) -> None:
        self._stop_requests.get()
        loop = get_event_loop()
        if loop is not None:
            loop.call_soon(_nothing)  # it looks at `should_stop` now, and not at its next event
        try:
            why = f"asked to stop a second time ({self._stop_requests.get(timeout=self._timeout)})"
        except queue.Empty:
            why = f"draining took longer than {self._timeout:g} s"
        _exit_at_once(why, _unfinished(self._worker.pool))


def _nothing() -> None:
    """Do nothing."""


def _unfinished(pool: Any) -> str:
    """Return how much the pool still runs: its jobs, or the messages of pools that do not know jobs."""
    if isinstance(pool, TaskPool):
        count, what = pool.jobs_in_hand, "job"
    else:
        count, what = len(state.active_requests), "task"
    return f"{count} {what}{'s' * (count != 1)}"


def _exit_at_once(why: str, unfinished: str) -> None:
    threading.Timer(_LOG_TIMEOUT, os._exit, (_FORCED_EXIT,)).start()
    logger.warning(
        "%s: this worker exits at once. %s did not stop in time; downloads among them are "
        "requeued when their locks have expired",
        why[0].upper() + why[1:],
        unfinished,
    )
    logging.shutdown()
    os._exit(_FORCED_EXIT)
