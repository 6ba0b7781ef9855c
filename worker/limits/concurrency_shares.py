"""Limits the part of a worker's concurrency that one host or user may use while others wait."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from database import JobRepository
from domain.errors import DatabaseUnavailableError, HostBusyError

#: Mean delay of a refused job. Seconds.
_RETRY_AFTER = 5.0
#: Seconds for which an answer of SQL is used: whether jobs of other hosts or users are queued.
CHECK_INTERVAL = 1.0
#: Answers kept at most. Only hosts and users above their share need one.
_MAX_ANSWERS = 100

#: A host or user: the column of `jobs`, and its value.
_Holder = tuple[str, str]
_HOST, _USER = "host", "user_id"


class ConcurrencyShares:
    """Counts the running downloads of this process by host and by user.

    Args:
        jobs: knows whether jobs of other hosts or users are queued.
        percent: the part of the concurrency that one host or user may use; 100 for all of it.

    Attributes:
        concurrency: how many downloads the process runs at once; None to apply no share.
    """

    def __init__(self, jobs: JobRepository, percent: int) -> None:
        self._jobs, self._percent = jobs, percent
        self.concurrency: int | None = None
        self._mutex = threading.Lock()
        self._running: Counter[_Holder] = Counter()
        #: When SQL was asked, and whether jobs of others were queued.
        self._answers: dict[_Holder, tuple[float, bool]] = {}

    @contextmanager
    def hold(self, host: str, user_id: str | None) -> Iterator[None]:
        """Count one download for the block.

        Raises:
            HostBusyError: host or user use their share, and jobs of others are queued.
        """
        holders = [(_HOST, host)] + ([(_USER, user_id)] if user_id else [])
        with self._mutex:
            self._running.update(holders)
        try:
            for holder in holders:
                self._check(holder)
            yield
        finally:
            with self._mutex:
                self._running.subtract(holders)
                self._running += Counter()  # drops zeros

    def _check(self, holder: _Holder) -> None:
        share = self._share()
        if share is not None and self._running[holder] > share and self._others_queued(holder):
            raise _refusal(holder, share)

    def _share(self) -> int | None:
        if self.concurrency is None or self._percent >= 100:
            return None
        return max(1, self.concurrency * self._percent // 100)

    def _others_queued(self, holder: _Holder) -> bool:
        now = time.monotonic()
        asked_at, answer = self._answers.get(holder, (-CHECK_INTERVAL, False))
        if now - asked_at < CHECK_INTERVAL:
            return answer
        try:
            answer = self._jobs.has_queued_of_others(*holder)
        except DatabaseUnavailableError:
            answer = False
        kept = self._answers if len(self._answers) < _MAX_ANSWERS else {}
        self._answers = {**kept, holder: (now, answer)}
        return answer


def _refusal(holder: _Holder, share: int) -> HostBusyError:
    column, host = holder
    is_host = column == _HOST
    # Reasons are logged, so they do not name users.
    where, of = (f" for {host}", "from it") if is_host else ("", "of its user")
    return HostBusyError(
        f"waiting{where}: {share} downloads {of} use their share of this worker, and jobs of others "
        "are queued. SEEN_CONCURRENCY_SHARE sets the share in percent.",
        code="host_busy" if is_host else "user_busy",
        retry_after=_RETRY_AFTER * random.uniform(0.5, 1.5),  # noqa: S311 - not used for security
    )
