"""Failures that are tried again on the spot, with lock and bytes in hand."""

from __future__ import annotations

import random

from domain.errors import TransientError
from worker.transfer.curl import TransferOptions

#: A longer wait than this is waited in SQL: nobody holds a worker and a lock for it. Seconds.
LONGEST_PAUSE = 10.0
#: An origin that breaks off every now and then is not down. Seconds.
_AFTER_PROGRESS = 0.1


class ShortRetries:
    """The budget of one transfer: so many failures in a row; whatever makes progress fills it up."""

    def __init__(self, options: TransferOptions) -> None:
        self._options = options
        self._failures = 0
        self._bytes = 0

    def pause(self, error: TransientError, bytes_so_far: int) -> float:
        """Return the seconds to wait before another try; raise `error` when it is not ours to try.

        Args:
            bytes_so_far: of the file, on disk: more than at the last failure is progress.
        """
        progressed = bytes_so_far > self._bytes
        self._failures = 1 if progressed else self._failures + 1
        self._bytes = bytes_so_far
        pause = self._options.retry_pause * 2.0 ** (self._failures - 1)
        if progressed:
            pause = min(pause, _AFTER_PROGRESS)
        if (
            self._failures > self._options.short_retries
            or error.retry_after is not None
            or pause > LONGEST_PAUSE
        ):
            raise error
        return pause * random.uniform(0.5, 1.0)  # noqa: S311 - no secret hangs on it
