"""The one word by which a running transfer is stopped, from whichever thread it comes."""

from __future__ import annotations

import threading
import time

from domain.errors import DrainingError, SeenError
from worker.leases.drain import Drain

#: A drain begins without waking anybody; whoever waits looks up this often. Seconds.
_POLL_INTERVAL = 0.2


class StopSignal:
    """Carries the error that ends a transfer: the first one set counts, later ones change nothing.

    A process that drains stops all its transfers in the same way.
    """

    def __init__(self, drain: Drain) -> None:
        self._drain = drain
        self._event = threading.Event()
        self._mutex = threading.Lock()
        self._error: SeenError | None = None

    def set(self, error: SeenError) -> None:
        """Ask the transfer to stop with `error`."""
        with self._mutex:
            if self._error is None:
                self._error = error
        self._event.set()

    @property
    def error(self) -> SeenError | None:
        """Why to stop, or None while nobody asked. Cheap enough for every chunk of a transfer."""
        if self._error is None and self._drain.has_started:
            self.set(DrainingError("The worker shuts down; the job goes back to the queue."))
        return self._error

    def raise_if_set(self) -> None:
        """Raise the error if there is one."""
        error = self.error
        if error is not None:
            raise error

    def wait(self, seconds: float) -> bool:
        """Sleep until somebody asks to stop, or `seconds` have passed; True when somebody asked."""
        end = time.monotonic() + seconds
        while self.error is None:
            left = end - time.monotonic()
            if left <= 0:
                return False
            self._event.wait(min(left, _POLL_INTERVAL))
        return True
