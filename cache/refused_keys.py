"""Commands of a pipeline whose keys hold something else: passed over, and logged once each."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from domain.errors import StoreReplyError

logger = logging.getLogger(__name__)

#: Errors that are remembered; with more of them each one is logged whenever it comes.
_REMEMBERED = 1_000


class RefusedKeys:
    """What one process has logged of such commands. Threads may share it."""

    def __init__(self) -> None:
        self._logged: set[str] = set()

    def note(self, replies: Iterable[object]) -> None:
        """Log the errors among the replies that are new."""
        for reply in replies:
            if isinstance(reply, StoreReplyError) and str(reply) not in self._logged:
                if len(self._logged) < _REMEMBERED:
                    self._logged.add(str(reply))
                logger.warning("%s Until then it is passed over.", reply)
