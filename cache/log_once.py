"""Logs each distinct warning once: a key with foreign content would otherwise fill the log."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from domain.errors import StoreReplyError

logger = logging.getLogger(__name__)

#: Warnings that are remembered; further ones are logged each time.
_MAX_REMEMBERED = 1_000


class LogOnce:
    """The warnings that this process has logged. Thread-safe."""

    def __init__(self) -> None:
        self._logged: set[str] = set()

    def log_errors(self, replies: Iterable[object]) -> None:
        """Log those errors among replies that are new: their commands had no effect."""
        for reply in replies:
            if isinstance(reply, StoreReplyError):
                self.warn(f"{reply} Until then it is ignored.")

    def warn(self, warning: str) -> None:
        """Log a warning if it is new."""
        if warning not in self._logged:
            if len(self._logged) < _MAX_REMEMBERED:
                self._logged.add(warning)
            logger.warning("%s", warning, extra={"event": "store.foreign_content"})
