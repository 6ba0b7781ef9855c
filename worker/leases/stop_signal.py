"""Stops a running transfer from any thread."""

from __future__ import annotations

import threading
import time

from domain.errors import DrainingError, SeenError
from worker.leases.drain import Drain

#: Seconds between two checks for a drain, whose start notifies no thread.
_POLL_INTERVAL = 0.2


class StopSignal:
    """Holds the error that ends a transfer. The first one counts.

    Args:
        drain: of this process; when it starts, all transfers stop.
    """

    def __init__(self, drain: Drain) -> None:
        self._drain = drain
        self._event = threading.Event()
        self._mutex = threading.Lock()
        self._error: SeenError | None = None

    def set(self, error: SeenError) -> None:
        """Stop the transfer with `error`, if it is not stopped already."""
        with self._mutex:
            if self._error is None:
                self._error = error
        self._event.set()

    @property
    def error(self) -> SeenError | None:
        """Why to stop; None to continue. Cheap enough for every chunk of a transfer."""
        if self._error is None and self._drain.has_started:
            self.set(DrainingError("The worker shuts down; the job goes back to the queue."))
        return self._error

    def raise_if_set(self) -> None:
        """Raise the error if there is one."""
        error = self.error
        if error is not None:
            raise error

    def wait(self, seconds: float) -> bool:
        """Sleep until the signal is set or `seconds` have passed; return whether it is set."""
        end = time.monotonic() + seconds
        while self.error is None:
            left = end - time.monotonic()
            if left <= 0:
                return False
            self._event.wait(min(left, _POLL_INTERVAL))
        return True
