"""Delays the next claim of a process to which the store or the database has just refused a job.

A store may grant a job's lock and refuse the next command. Without a pause each job would be claimed
and requeued as fast as its message is delivered again. If the database does not answer, the process
would consume the messages of the whole queue for nothing.
"""

from __future__ import annotations

import threading
import time

from worker.backoff import REFUSAL_BACKOFF


class ClaimPause:
    """The pause of one process before its next claim. Any thread may use it."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._refusals = 0
        self._ends = 0.0

    def refused(self) -> None:
        """Start a pause: a job was refused, or the database did not answer its claim.

        Refusals during a pause do not prolong it.
        """
        with self._mutex:
            now = time.monotonic()
            if now >= self._ends:
                self._refusals += 1
                self._ends = now + REFUSAL_BACKOFF.delay(self._refusals)

    def store_answered(self) -> None:
        """End the pause: the store has executed all commands that a job needs before its transfer."""
        with self._mutex:
            self._refusals, self._ends = 0, 0.0

    def seconds_left(self) -> float:
        """Return the seconds until the pause ends; 0 or less without one."""
        return self._ends - time.monotonic()
