"""Notices that beat is missing: a dead one tells nobody, and workers would only look idle."""

from __future__ import annotations

import logging
import time
from datetime import datetime

from cache import CacheManager
from cache.models import BEAT_MISSING_AFTER, BeatStatus
from domain.errors import StoreReplyError, StoreUnavailableError
from settings import Settings
from worker.outages import OutageLog
from worker.periodic_thread import PeriodicThread

logger = logging.getLogger(__name__)

#: Seconds between two looks.
INTERVAL = 5.0

_READING = "Whether beat runs is not known"


class BeatMonitor:
    """Looks at beat's sign of life from a thread of its own, and tells the log when it is missed.

    A tick is a sign that differs from the last look's: only our own clock is asked, so none that is set
    raises an alarm or hides one. While the store does not answer beat cannot tick either, and nothing
    is said. A sign that cannot be read, since another program wrote its key, is logged once.

    Args:
        settings: where the store is.
        patience: seconds without a tick after which beat is missed.
        interval: seconds between two looks.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        patience: float = BEAT_MISSING_AFTER,
        interval: float = INTERVAL,
    ) -> None:
        self._cache = CacheManager.connect(settings, retries=0)
        self._patience = patience
        self._last_tick: datetime | None = None
        self._waits_since = time.monotonic()
        self._is_missed = False
        self._outages = OutageLog(logger)
        self._thread = PeriodicThread("beat-watch", self.look, interval)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def close(self) -> None:
        """Stop looking."""
        self._thread.close()
        self._cache.close()

    def look(self) -> None:
        """Look once."""
        try:
            status = self._cache.beat.status()
        except StoreUnavailableError:
            self._waits_since = time.monotonic()
            return
        except StoreReplyError as error:
            self._waits_since = time.monotonic()
            self._outages.record_failure(_READING, error)
            return
        self._outages.record_success(_READING)
        if status is not None and status.ticked_at != self._last_tick:
            self._heard(status)
        elif not self._is_missed and time.monotonic() - self._waits_since > self._patience:
            self._is_missed = True
            logger.warning(
                "Beat has not ticked for %.0f s (%s). Until it does, waiting jobs are not woken, jobs "
                "of dead workers not found, and progress not saved. Start one: seen beat",
                time.monotonic() - self._waits_since,
                "no tick is known" if status is None else f"the last: {_described(status)}",
            )

    def _heard(self, status: BeatStatus) -> None:
        self._last_tick = status.ticked_at
        self._waits_since = time.monotonic()
        if self._is_missed:
            self._is_missed = False
            logger.warning("Beat ticks again, on %s", status.worker)


def _described(status: BeatStatus) -> str:
    return f"{status.ticked_at:%Y-%m-%d %H:%M:%S} UTC on {status.worker}"
