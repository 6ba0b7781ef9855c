"""Keys that hold what another program wrote: passed over, and logged once each."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from domain.errors import StoreReplyError

logger = logging.getLogger(__name__)

#: Errors that are remembered; with more of them each one is logged whenever it comes.
_REMEMBERED = 1_000


class LogOnce:
    """What one process has logged of keys that it passes over. Threads may share it."""

    def __init__(self) -> None:
        self._logged: set[str] = set()

    def log_errors(self, replies: Iterable[object]) -> None:
        """Log the errors among the replies that are new."""
        for reply in replies:
            if isinstance(reply, StoreReplyError):
                self.warn(f"{reply} Until then it is passed over.")

    def warn(self, warning: str) -> None:
        """Log one warning, if it is new."""
        if warning not in self._logged:
            if len(self._logged) < _REMEMBERED:
                self._logged.add(warning)
            logger.warning("%s", warning)
