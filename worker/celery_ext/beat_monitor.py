"""Detects that beat is missing, which else shows only by workers that stay idle."""

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

#: Seconds between two checks.
INTERVAL = 5.0

_READING = "Whether beat runs is not known"


class BeatMonitor:
    """Checks beat's last tick from a thread of its own, and logs when there is no new one.

    A time stamp that differs from that of the last check is a new tick. The time since then is measured
    by this process's monotonic clock alone, so a wrong clock raises or hides no alarm. While
    the store does not answer, beat cannot tick either, and nothing is logged. If the tick cannot be read
    because another program wrote its key, that is logged once.

    Args:
        settings: where the store is.
        max_silence: seconds without a tick after which beat counts as missing.
        interval: seconds between two checks.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        max_silence: float = BEAT_MISSING_AFTER,
        interval: float = INTERVAL,
    ) -> None:
        self._cache = CacheManager.connect(settings, retries=0)
        self._max_silence = max_silence
        self._last_tick: datetime | None = None
        self._silent_since = time.monotonic()
        self._is_missing = False
        self._outages = OutageLog(logger)
        self._thread = PeriodicThread("beat-watch", self.check, interval)

    def start(self) -> None:
        """Start checking."""
        self._thread.start()

    def close(self) -> None:
        """Stop checking."""
        self._thread.close()
        self._cache.close()

    def check(self) -> None:
        """Check once."""
        try:
            status = self._cache.beat.status()
        except StoreUnavailableError:
            self._silent_since = time.monotonic()
            return
        except StoreReplyError as error:
            self._silent_since = time.monotonic()
            self._outages.record_failure(_READING, error)
            return
        self._outages.record_success(_READING)
        if status is not None and status.ticked_at != self._last_tick:
            self._record_tick(status)
        elif not self._is_missing and time.monotonic() - self._silent_since > self._max_silence:
            self._is_missing = True
            logger.warning(
                "Beat has not ticked for %.0f s (%s). Until it does, waiting jobs and jobs of "
                "dead workers are not requeued, and progress is not saved. Start one: seen beat",
                time.monotonic() - self._silent_since,
                "no tick is known" if status is None else f"the last: {_described(status)}",
            )

    def _record_tick(self, status: BeatStatus) -> None:
        self._last_tick = status.ticked_at
        self._silent_since = time.monotonic()
        if self._is_missing:
            self._is_missing = False
            logger.warning("Beat ticks again, on %s", status.process)


def _described(status: BeatStatus) -> str:
    return f"{status.ticked_at:%Y-%m-%d %H:%M:%S} UTC on {status.process}"
