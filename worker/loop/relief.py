"""Gives calls that wait a thread when all threads are stuck, as on a disk that hangs."""

from __future__ import annotations

import threading
from collections.abc import Callable

#: Calls that wait while none ends for so long get further threads. Seconds.
PATIENCE = 1.0


class Relief:
    """Watches the calls of a pool of threads while some wait, from a thread of its own.

    Args:
        waiting: returns how many calls wait for a thread.
        ended: returns how many calls have ended; it rises with each.
        add: adds so many threads, or fewer.
    """

    def __init__(
        self, waiting: Callable[[], int], ended: Callable[[], int], add: Callable[[int], None]
    ) -> None:
        self._waiting, self._ended, self._add = waiting, ended, add
        self._mutex = threading.Lock()
        self._is_watching = False
        self._closed = threading.Event()

    def watch(self) -> None:
        """Watch from now on until no call waits."""
        with self._mutex:
            if self._is_watching or self._closed.is_set():
                return
            self._is_watching = True
        try:
            threading.Thread(target=self._watch, name="relief", daemon=True).start()
        except RuntimeError:  # the system gives no thread now; the next call tries again
            self._is_watching = False

    def close(self) -> None:
        """End watching."""
        self._closed.set()

    def _watch(self) -> None:
        ended = -1
        while not self._closed.wait(PATIENCE):
            with self._mutex:
                waiting = self._waiting()
                if not waiting:
                    self._is_watching = False
                    return
            ended, before = self._ended(), ended
            if ended == before:
                self._add(waiting)
