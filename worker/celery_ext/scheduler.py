"""Beat: sends the periodic tasks, each once an interval however many beats run.

Every beat ticks by itself. Before it sends an entry of the schedule it claims the entry in the store, by
one ``SET NX PX`` that expires with the interval. The claims of a beat that dies or hangs expire like all
others, and then any beat may claim the entry.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
from typing import Any

from celery import Celery, beat, schedules
from celery.apps import beat as apps_beat

import settings as settings_module
from cache import CacheManager
from cache.clock import lease_clock
from domain.errors import StoreError
from settings import Settings
from worker.broker.client import Broker
from worker.outages import OutageLog
from worker.process import stop_signals

logger = logging.getLogger(__name__)

_SENDING = "Periodic tasks are not sent"

#: Set by a signal to stop.
_stop_requested = threading.Event()

_CeleryScheduler: Any = beat.Scheduler  # its stub knows too little of what a subclass may do


class Scheduler(_CeleryScheduler):  # type: ignore[misc]
    """What `celery beat` ticks. Of Celery's own scheduler, the reading of `beat_schedule` is used.

    Celery's schedulers count by the wall clock, which can be set, or keep a file, which two beats would
    overwrite. This one counts on a clock that is never set, and keeps nothing on disk.

    Args:
        app: the Celery app; its `beat_schedule` is sent.
        settings: where the store is; the process's own by default.
        others: what Celery passes to its schedulers.
    """

    def __init__(self, app: Celery, *, settings: Settings | None = None, **others: Any) -> None:
        super().__init__(app, **others)
        self._name = f"{socket.gethostname()}:{os.getpid()}"
        settings = settings or settings_module.load()
        # Nothing connects yet: Celery also makes a scheduler only to describe it.
        self._broker = Broker(self.app, timeout=settings.cache_timeout)
        self._cache = CacheManager.connect(settings, retries=0)
        self._outages = OutageLog(logger)

    def setup_schedule(self) -> None:
        """Read the schedule; every entry is due at once."""
        self.merge_inplace(self.app.conf.beat_schedule)
        self._intervals = {
            name: _interval(name, entry.schedule) for name, entry in self.schedule.items()
        }
        self._due_at = dict.fromkeys(self._intervals, -_NEVER)

    def tick(self, *_: Any) -> float:
        """Send the entries that are due; return the seconds until the next tick."""
        pause = self._tick()
        if _stop_requested.is_set():
            # The exception of `_stop` may be lost, for example inside a `__del__`.
            raise SystemExit(0)
        return pause

    def close(self) -> None:
        """Close the connections. May be called again."""
        self._cache.close()
        self._broker.close()

    def _tick(self) -> float:
        longest = float(self.max_interval)
        try:
            for name in self._due():
                self._send_once(name)
            self._cache.beat.tick(self._name)
        except StoreError as error:
            self._outages.record_failure(_SENDING, error)
            return longest
        self._outages.record_success(_SENDING)
        next_due = min(self._due_at.values(), default=_NEVER)
        return min(max(0.0, next_due - lease_clock()), longest)

    def _due(self) -> list[str]:
        """Return the entries that are due, the longest overdue first."""
        now = lease_clock()
        due = (name for name, due_at in self._due_at.items() if due_at <= now)
        return sorted(due, key=self._due_at.__getitem__)

    def _send_once(self, name: str) -> None:
        """Send an entry, unless a beat has sent it within its interval."""
        interval = self._intervals[name]
        claimed_for = self._cache.beat.claim(name, self._name, interval)
        if not claimed_for:
            self._send(name)
        self._due_at[name] = lease_clock() + (claimed_for or interval)

    def _send(self, name: str) -> None:
        entry = self.schedule[name]
        logger.debug("Sending due task %s (%s)", name, entry.task)
        try:
            self._broker.send(entry.task, **entry.options)
        except (StoreError, SystemExit):
            self._cache.beat.release(name)  # for a beat that can send it
            raise


_NEVER = float("inf")


def _interval(name: str, schedule: Any) -> float:
    if type(schedule) is not schedules.schedule:
        raise TypeError(f"beat_schedule, {name}: beat knows intervals in seconds, not {schedule!r}")
    return float(schedule.seconds)


_CeleryBeat: Any = apps_beat.Beat  # its stub lacks what a subclass may do


class Beat(_CeleryBeat):  # type: ignore[misc]
    """Celery's beat program, which a signal ends whenever it comes."""

    def install_sync_handler(self, service: Any) -> None:  # noqa: ARG002 - Celery passes it
        """Let a signal only end the tick or the sleep: `close` follows after both.

        Celery's handler would close the scheduler itself, in the middle of what it interrupts, and its
        exception may be lost.
        """
        stop_signals.handle(_stop)
        sys.unraisablehook = _report_lost_exception


def _stop(_number: int, _frame: object) -> None:
    _stop_requested.set()
    raise SystemExit(0)


def _report_lost_exception(lost: sys.UnraisableHookArgs) -> None:
    """Report what Python cannot raise, as in a callback of a weak reference, but for `_stop`'s exit."""
    if not (_stop_requested.is_set() and lost.exc_type is SystemExit):
        sys.__unraisablehook__(lost)
