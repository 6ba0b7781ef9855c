"""Stops a running transfer from any thread."""

from __future__ import annotations

import threading

from domain.errors import DrainingError, SeenError
from worker.leases.drain import Drain


class StopSignal:
    """Holds the error that ends a transfer. The first one counts.

    Args:
        drain: of this process; when it starts, all transfers stop.
    """

    def __init__(self, drain: Drain) -> None:
        self._drain = drain
        self._mutex = threading.Lock()
        self._error: SeenError | None = None

    def set(self, error: SeenError) -> None:
        """Stop the transfer with `error`, if it is not stopped already."""
        with self._mutex:
            if self._error is None:
                self._error = error

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
