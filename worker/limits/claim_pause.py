"""Keeps a worker that the store has just refused from claiming jobs: it would be refused again.

A store may grant a job's lock and refuse the next command. Without a pause each job would be claimed
and handed back as fast as its message comes round.
"""

from __future__ import annotations

import threading
import time

from worker.celery_ext.consumer_backoff import FIRST_DELAY, MAX_DELAY
from worker.leases.drain import Drain

_STEP = 0.1


class ClaimPause:
    """The pause of one process before its next claim: none, or ever longer, up to `MAX_DELAY`."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._pause = FIRST_DELAY
        self._ends = 0.0

    def refused(self) -> None:
        """The store has refused a job: begin a pause. Refusals during it make it no longer."""
        with self._mutex:
            now = time.monotonic()
            if now >= self._ends:
                self._ends = now + self._pause
                self._pause = min(MAX_DELAY, 2 * self._pause)

    def served(self) -> None:
        """The store has given a job all it needs to begin: the next pause is a short one again."""
        with self._mutex:
            self._pause, self._ends = FIRST_DELAY, 0.0

    def wait(self, drain: Drain) -> bool:
        """Wait until the pause is over; False when the process begins to drain before that."""
        while time.monotonic() < self._ends:
            if drain.has_started:
                return False
            time.sleep(_STEP)
        return True
