"""Logs an outage twice: when it starts and when it is over, however often something fails meanwhile."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field

from domain.errors import SeenError, StoreRefusesError


@dataclass(slots=True)
class _Outage:
    since: float
    failures: int
    error: SeenError
    reasons: set[str] = field(default_factory=set)


class OutageLog:
    """The current outages of one part of a process. Any thread may use it.

    Args:
        logger: of the part.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._mutex = threading.Lock()
        self._outages: dict[str, _Outage] = {}

    @property
    def newest(self) -> SeenError | None:
        """The newest failure without a later success; None when all works."""
        with self._mutex:
            errors = [outage.error for outage in self._outages.values()]
        return errors[-1] if errors else None

    def record_failure(self, what: str, error: SeenError) -> None:
        """Log a failure, unless the outage has this reason logged already.

        Args:
            what: a sentence without its full stop, the same one each time; it names the outage.
            error: the reason.
        """
        reason = _reason_of(error)
        with self._mutex:
            outage = self._outages.setdefault(what, _Outage(time.monotonic(), 0, error))
            outage.failures += 1
            outage.error = error
            is_logged = reason in outage.reasons
            outage.reasons.add(reason)
        if not is_logged:
            why = str(error).rstrip(".")
            self._logger.warning("%s: %s. Repeated failures are not logged", what, why)

    def record_success(self, what: str) -> None:
        """End the outage of this name, and log that, if there is one."""
        if what not in self._outages:  # the usual case, and cheap
            return
        with self._mutex:
            outage = self._outages.pop(what, None)
        if outage is not None:
            seconds = time.monotonic() - outage.since
            self._logger.warning(
                "%s: that is over, after %d failures in %.0f s", what, outage.failures, seconds
            )


def _reason_of(error: SeenError) -> str:
    """Return what makes two reasons differ; messages also differ by keys and commands."""
    if isinstance(error, StoreRefusesError):
        return error.words.partition(" ")[0]
    return type(error).__name__
