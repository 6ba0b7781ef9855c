"""Failures that are tried again on the spot, with lock and bytes in hand."""

from __future__ import annotations

import math
import random

from domain.backoff import Backoff
from domain.errors import PermanentError, TransientError
from worker.transfer.http.resolving import NO_SUCH_HOST
from worker.transfer.spec import TransferOptions

#: A longer wait than this is waited in SQL: nobody holds a worker and a lock for it. Seconds.
MAX_DELAY = 10.0
#: An origin that breaks off every now and then is not down. Seconds.
_DELAY_AFTER_PROGRESS = 0.1
#: A name that does not exist is asked for once more after this. Seconds.
_LOOKUP_RETRY_DELAY = 1.0


class RetryBudget:
    """The budget of one transfer: so many failures in a row; whatever makes progress fills it up."""

    def __init__(self, options: TransferOptions, now: float) -> None:
        self._options = options
        self._failures = 0
        self._lookup_failed = False
        self._bytes, self._time = 0, now

    def next_delay(self, error: TransientError, bytes_so_far: int, now: float) -> float:
        """Return the seconds to wait before another try; raise `error` when it is not ours to try.

        Args:
            bytes_so_far: of the file, on disk. Progress is what came since the last failure faster than
                the speed that counts as standing still.
            now: monotonic seconds.

        Raises:
            PermanentError: the host name does not exist, and did not a moment ago.
        """
        if error.code == NO_SUCH_HOST and not bytes_so_far:
            return self._retry_lookup(error)
        self._lookup_failed = False
        gained = bytes_so_far - self._bytes
        progressed = gained >= max(1.0, self._options.low_speed_limit * (now - self._time))
        self._bytes, self._time = bytes_so_far, now
        self._failures = 1 if progressed else self._failures + 1
        longest = _DELAY_AFTER_PROGRESS if progressed else math.inf
        pause = Backoff(self._options.retry_pause, longest).delay(self._failures)
        if (
            self._failures > self._options.short_retries
            or error.retry_after is not None
            or pause > MAX_DELAY
        ):
            raise error
        return pause * random.uniform(0.5, 1.0)  # noqa: S311 - no secret hangs on it

    def _retry_lookup(self, error: TransientError) -> float:
        """Try a name that does not exist twice within seconds, and not once more.

        A name that bytes of this file came from is no such one: then its zone has trouble.
        """
        if self._lookup_failed:
            raise PermanentError(str(error), code=error.code) from error
        self._lookup_failed = True
        return _LOOKUP_RETRY_DELAY
