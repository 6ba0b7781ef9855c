"""How a worker process ends: told once, it drains; told twice, or draining too long, it ends at once.

Ending at once harms nothing. What is on disk stays there, locks are left to expire, since a thread that
did not stop may still write, and `download.reconcile` queues again what was running.
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
from celery.worker import state
from celery.worker.components import Pool

import settings as settings_module
from worker.app import drain

logger = logging.getLogger(__name__)

#: Service managers send SIGTERM, terminals the other two.
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
#: A log that takes no line must not hold up the end. Seconds.
_LAST_WORDS = 1.0
#: Exit status of a process that did not end by itself.
_CUT_OFF = 1


class Shutdown(bootsteps.StartStopStep):
    """Part of a Celery worker: hears that it is to end, and sees that it does."""

    requires = (Pool,)  # whose children are forked without our handlers

    def __init__(self, worker: Any, **options: Any) -> None:
        super().__init__(worker, **options)
        self._timeout = settings_module.load().drain_timeout
        # Its `put` may be called from a signal handler, whatever that has interrupted.
        self._told: queue.SimpleQueue[str] = queue.SimpleQueue()

    def start(self, _worker: Any) -> None:
        """Take over the signals; by now Celery has installed its own handlers.

        Of those only SIGTERM's is of use: SIGINT's ends with another status, and SIGQUIT's waits for the
        pool before it tells anybody.
        """
        stop = signal.getsignal(signal.SIGTERM)

        def handle(number: int, frame: FrameType | None) -> None:
            drain.start()
            self._told.put(signal.Signals(number).name)
            if callable(stop):
                stop(number, frame)

        threading.Thread(target=self._watch, name="shutdown", daemon=True).start()
        for number in _SIGNALS:
            signal.signal(number, handle)

    def close(self, _worker: Any) -> None:
        """The worker stops: remote control, say, tells it to without a signal."""
        if not drain.has_started:
            drain.start()
            self._told.put("by Celery")

    def _watch(self) -> None:
        self._told.get()  # Celery has said so; a line of ours might find a log that takes none
        try:
            why = f"told to end a second time ({self._told.get(timeout=self._timeout)})"
        except queue.Empty:
            why = f"draining took longer than {self._timeout:g} s"
        _end_at_once(why)


def _end_at_once(why: str) -> None:
    threading.Timer(_LAST_WORDS, os._exit, (_CUT_OFF,)).start()
    logger.warning(
        "%s: this worker ends at once. %d tasks did not stop in time; a download among them goes on "
        "elsewhere when its lock has expired",
        why[0].upper() + why[1:],
        len(state.active_requests),
    )
    logging.shutdown()
    os._exit(_CUT_OFF)
