"""Background work of a process, each kind in a thread of its own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

logger = logging.getLogger(__name__)


class PeriodicThread:
    """Calls a function every `interval` seconds, from `start` to `close`.

    No error ends it, since locks, slots and progress depend on it. Of several errors in a row the first
    is logged.

    Args:
        name: of the thread, and in the log.
        work: the function. It may return the seconds until its next call, in place of `interval`.
        interval: seconds from the end of a call to the next one.
        first: seconds until the first call; `interval` by default.
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
        # Started at first use: a forked child would not inherit it.
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread, unless it runs already."""
        with self._mutex:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                thread.start()  # if the system gives no thread now, the next call tries again
                self._thread = thread

    def close(self) -> None:
        """Stop the thread, after the current call has returned."""
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
                    logger.exception("%s failed; it is called again as usual", self._name)
                failed = True
