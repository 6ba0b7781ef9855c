"""How many downloads may run at once in all workers: a limit that can be changed while they run."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from cache.coordination.transfer_limits import TransferLimits
from cache.store.flow import Flow
from domain.errors import StoreError
from domain.limits import MAX_DOWNLOADS
from worker.outages import OutageLog
from worker.periodic_thread import PeriodicThread

logger = logging.getLogger(__name__)

#: Seconds between two looks at the store.
INTERVAL = 0.5
#: What was read longer ago is read again before a job gets its slots. Seconds.
_FRESH = 2 * INTERVAL

_READING = "The limit of all downloads stays as it was read last"


class TotalLimit:
    """The limit as this process knows it. While the store does not answer, it stays as it is.

    A thread reads it from the first job on. Any thread may use the attributes.

    Args:
        limits: where it is kept.
        default: that of the settings, which holds where the store has none; 0 for no limit.
        interval: seconds between two looks.

    Attributes:
        value: downloads at once; 0 for no limit.
    """

    def __init__(
        self, limits: TransferLimits, default: int = 0, *, interval: float = INTERVAL
    ) -> None:
        self._limits, self._default = limits, default
        self.value = self._announced = default
        self._read_at = float("-inf")
        self._watchers: list[Callable[[int], None]] = []
        self._outages = OutageLog(logger)
        self._thread = PeriodicThread("total-limit", self.look, interval)

    def on_look(self, watcher: Callable[[int], None]) -> None:
        """Call a function after each look, in the thread, with the number of further downloads.

        It is how many more may run than before the look; below 0 if fewer may run.
        """
        self._watchers.append(watcher)

    def read_flow(self) -> Flow[int]:
        """Return the limit as it was a moment ago; 0 without one.

        Raises:
            StoreUnavailableError: the store does not answer.
        """
        self._thread.start()
        if time.monotonic() - self._read_at > _FRESH:
            self._note((yield from TransferLimits.most_downloads.flow(self._limits)))
        return self.value

    def look(self) -> None:
        """Read the limit once, and call the watchers."""
        try:
            self._note(self._limits.most_downloads())
        except StoreError as error:
            self._outages.record_failure(_READING, error)
            return
        self._outages.record_success(_READING)
        former, self._announced = self._announced, self.value
        more = (self.value or MAX_DOWNLOADS) - (former or MAX_DOWNLOADS)
        for watcher in self._watchers:
            watcher(more)

    def close(self) -> None:
        """Stop the thread."""
        self._thread.close()

    def _note(self, found: int | None) -> None:
        self.value = self._default if found is None else found
        self._read_at = time.monotonic()
