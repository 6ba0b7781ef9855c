"""What a process does again and again beside its downloads, each from a thread of its own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

logger = logging.getLogger(__name__)


class PeriodicThread:
    """Calls `work` every `interval` seconds, from `start` to `close`.

    No error of `work` ends it: locks, slots and heartbeats of this process hang on it. Of several errors
    in a row the first is logged.

    Args:
        name: of the thread, and in the log.
        work: what to do. It may return after how many seconds, other than `interval`, to do it again.
        interval: seconds between the end of a call and the next one.
        first: seconds until the first call, where that is not `interval`.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[], float | None],
        interval: float,
        *,
        first: float | None = None,
    ) -> None:
        self._name = name
        self._work = work
        self._interval = interval
        self._first = interval if first is None else first
        self._mutex = threading.Lock()
        self._closing = threading.Event()
        # Not before it is needed: the children of a process that forks would have none.
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, unless it has begun already."""
        with self._mutex:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Stop; a call that is under way is waited for."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        wait, failed = self._first, False
        while not self._closing.wait(wait):
            wait = self._interval
            try:
                wait = self._work() or wait
                failed = False
            except Exception:
                if not failed:
                    logger.exception("%s failed; it is tried again every time", self._name)
                failed = True
