"""Retries within a transfer, while its worker keeps the lock."""

from __future__ import annotations

import math
import random

from domain.backoff import Backoff
from domain.errors import PermanentError, TransientError
from worker.transfer.http.error_mapping import NO_SUCH_HOST
from worker.transfer.interfaces import TransferOptions

#: For a longer delay the job waits in the database instead, without a worker. Seconds.
MAX_DELAY = 10.0
#: The longest delay after a failure that came after progress. Seconds.
_DELAY_AFTER_PROGRESS = 0.1
#: A name that does not exist is looked up once more after this delay. Seconds.
_LOOKUP_RETRY_DELAY = 1.0


class RetryBudget:
    """Limits the failures in a row of one transfer; progress resets the count."""

    def __init__(self, options: TransferOptions, now: float) -> None:
        self._options = options
        self._failures = 0
        self._lookup_failed = False
        self._bytes, self._time = 0, now

    def next_delay(self, error: TransientError, bytes_so_far: int, now: float) -> float:
        """Return the seconds to wait before the next request; raise `error` when the job has to wait.

        Args:
            bytes_so_far: bytes of the file that are written. They are progress if they arrived since
                the last failure faster than the low-speed limit.
            now: monotonic seconds.

        Raises:
            PermanentError: two lookups in a row found that the host name does not exist.
        """
        if error.code == NO_SUCH_HOST and not bytes_so_far:
            return self._retry_lookup(error)
        self._lookup_failed = False
        gained = bytes_so_far - self._bytes
        progressed = gained >= max(1.0, self._options.low_speed_limit * (now - self._time))
        self._bytes, self._time = bytes_so_far, now
        self._failures = 1 if progressed else self._failures + 1
        longest = _DELAY_AFTER_PROGRESS if progressed else math.inf
        delay = Backoff(self._options.retry_pause, longest).delay(self._failures)
        if (
            self._failures > self._options.short_retries
            or error.retry_after is not None
            or delay > MAX_DELAY
        ):
            raise error
        return delay * random.uniform(0.5, 1.0)  # noqa: S311 - not used for security

    def _retry_lookup(self, error: TransientError) -> float:
        """Allow a second lookup, but not a third.

        Only before the first byte: a name that has served bytes exists, and its zone has a problem.
        """
        if self._lookup_failed:
            raise PermanentError(str(error), code=error.code) from error
        self._lookup_failed = True
        return _LOOKUP_RETRY_DELAY
