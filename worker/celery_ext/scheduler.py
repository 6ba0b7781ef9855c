"""Beat: sends the periodic tasks. Several may run; one leads, the others take over when it falls.

The leader holds a lease in the store, which its ticks renew: one that hangs loses it. A beat without
store sends nothing. When each entry was last sent is kept in the store as well, so that whoever leads
next goes on in rhythm.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from enum import Enum, auto
from typing import Any

from celery import Celery, beat, schedules, signals

import settings as settings_module
from cache import CacheManager
from cache.clock import lease_clock
from cache.coordination.lock import Lock
from domain.errors import StoreError
from settings import Settings
from worker.broker.client import Broker
from worker.celery_ext.interval_schedule import IntervalSchedule
from worker.leases.lease import RENEWALS_PER_TTL, write_deadline

logger = logging.getLogger(__name__)

#: Together with the longest pause between two looks (5 s) another beat takes over within half a minute.
LEASE_TTL = 20.0

#: Set by the signal that tells this process to end.
_told_to_end = threading.Event()

_CeleryScheduler: Any = beat.Scheduler  # its stub knows too little of what a subclass may do


class _State(Enum):
    """What a beat last said of itself."""

    NEW = auto()
    LEADS = auto()
    STANDS_BY = auto()
    CUT_OFF = auto()


class Leadership:
    """The lease of the one beat that sends.

    Args:
        lock: what all beats want; its life is how long a leader may be silent.
    """

    def __init__(self, lock: Lock) -> None:
        self._lock = lock
        self._ends = 0.0
        self._may_hold = False

    @property
    def is_alive(self) -> bool:
        """Whether we lead for certain, by our own clock, which ran on while we were stopped."""
        return lease_clock() < self._ends

    def keep(self) -> bool:
        """Renew the lease, or take it if nobody has it; say whether we lead.

        Raises:
            StoreUnavailableError: no answer; a lease that we have goes on until its end.
        """
        asked_at = lease_clock()
        expected, self._may_hold = self._may_hold, True
        self._may_hold = (expected and self._lock.extend()) or self._lock.acquire()
        self._ends = write_deadline(asked_at, self._lock.ttl) if self._may_hold else 0.0
        return self.is_alive

    def give_back(self) -> None:
        """Let another beat lead at once. Raises StoreUnavailableError: then when the lease has ended."""
        held, self._may_hold, self._ends = self._may_hold, False, 0.0
        if held:
            self._lock.release()


class Scheduler(_CeleryScheduler):  # type: ignore[misc]
    """What `celery beat` ticks. Of Celery's own scheduler the reading of `beat_schedule` is left.

    Celery's counts by the wall clock, which can be set; its persistent one keeps a file that two beats
    would fight for.

    Args:
        app: the Celery app, whose `beat_schedule` is sent.
        settings: where the store is; the process's own by default.
        lease_ttl: seconds that a leader may be silent before another beat takes over.
        others: what Celery gives its schedulers.
    """

    def __init__(
        self,
        app: Celery,
        *,
        settings: Settings | None = None,
        lease_ttl: float = LEASE_TTL,
        **others: Any,
    ) -> None:
        super().__init__(app, **others)
        self._worker = f"{socket.gethostname()}:{os.getpid()}"
        settings = settings or settings_module.load()
        # Nothing connects yet: Celery also makes a scheduler only to describe it.
        self._broker = Broker(self.app, timeout=settings.cache_timeout)
        self._cache = CacheManager.connect(settings, retries=0)
        self._leadership = Leadership(self._cache.lock("beat", ttl=lease_ttl))
        self._longest_pause = float(min(self.max_interval, lease_ttl / RENEWALS_PER_TTL))
        self._state = _State.NEW

    def setup_schedule(self) -> None:
        """Read the schedule."""
        self.merge_inplace(self.app.conf.beat_schedule)
        self._timetable = IntervalSchedule(
            {name: _interval(name, entry.schedule) for name, entry in self.schedule.items()}
        )

    # ── ticking ─────────────────────────────────────────────────────────────────────────────────

    def tick(self, *_: Any) -> float:
        """Send what is due, if we lead; return the seconds until the next tick."""
        pause = self._tick()
        if _told_to_end.is_set():
            # The signal's own came where an exception goes no further, say in a `__del__`.
            raise SystemExit(0)
        return pause

    def _tick(self) -> float:
        try:
            if not self._leads():
                self._cache.beat.stand_by(self._worker)
                self._turn(_State.STANDS_BY, logging.INFO, "Another beat leads; this one stands by")
                return self._longest_pause
            if not self._send_due():
                return 0.0  # something held us up until the lease had ended: who leads now?
            self._cache.beat.tick(self._worker, self._timetable.ages(lease_clock()))
        except StoreError as error:
            self._turn(_State.CUT_OFF, logging.WARNING, "Nothing is sent for now: %s", error)
            return self._longest_pause
        self._turn(_State.LEADS, logging.INFO, "This beat leads: it sends the periodic tasks")
        return min(self._timetable.wait(lease_clock()), self._longest_pause)

    def _leads(self) -> bool:
        """Renew or take the lease and, where we begin to lead, learn what was sent when.

        Returns whether we lead.
        """
        has_led = self._state is _State.LEADS and self._leadership.is_alive
        if not self._leadership.keep():
            return False
        if not has_led:
            self._timetable.learn(self._cache.beat.last_runs(), lease_clock())
        return True

    def _send_due(self) -> bool:
        """Send what is due; say whether we still lead.

        The lease is looked at before each task: the one before may have taken long, or we were stopped.
        """
        for name in self._timetable.due(lease_clock()):
            if not self._leadership.is_alive:
                break
            entry = self.schedule[name]
            logger.info("Sending due task %s (%s)", name, entry.task)
            try:
                self._broker.send(entry.task, **entry.options)
            except StoreError:
                self._leadership.give_back()  # another beat may have a broker
                raise
            self._timetable.ran(name, lease_clock())
        return self._leadership.is_alive

    def _turn(self, state: _State, level: int, message: str, *args: object) -> None:
        """Say once what has become of us."""
        if state is not self._state:
            logger.log(level, message, *args)
        self._state = state

    # ── the end ─────────────────────────────────────────────────────────────────────────────────

    def close(self) -> None:
        """Give the lease back and close the connections. May be called again."""
        try:
            self._leadership.give_back()
        except StoreError as error:
            logger.warning("The lease was not given back and ends by itself: %s", error)
        self._cache.close()
        self._broker.close()


def _interval(name: str, schedule: Any) -> float:
    if type(schedule) is not schedules.schedule:
        raise TypeError(f"beat_schedule, {name}: beat knows intervals in seconds, not {schedule!r}")
    return float(schedule.seconds)


@signals.beat_init.connect
def _stop_cleanly(**_: Any) -> None:
    """Have a signal only end the tick or the sleep: `close` follows when both are left.

    Celery's handler would itself close the scheduler, in the middle of what it interrupts.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)


def _leave(_number: int, _frame: object) -> None:
    _told_to_end.set()
    raise SystemExit(0)
