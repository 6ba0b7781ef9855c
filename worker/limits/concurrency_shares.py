"""What one host, or one user, may hold of a worker's concurrency while jobs of others are queued."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from database import JobRepository
from domain.errors import DatabaseUnavailableError, HostBusyError

#: Seconds after which a job that was refused asks again, on average.
_PAUSE = 5.0
#: Whether others are queued is asked at most this often. Seconds.
CHECK_INTERVAL = 1.0

_HOST, _USER = "host", "user_id"


class ConcurrencyShares:
    """Counts the concurrency of this process by host and by user.

    Args:
        jobs: tell whether jobs of others are queued.
        percent: what one of them may hold of the concurrency; 100 for all.

    Attributes:
        concurrency: how many downloads the process runs at once; None where it shares no concurrency.
    """

    def __init__(self, jobs: JobRepository, percent: int) -> None:
        self._jobs, self._percent = jobs, percent
        self.concurrency: int | None = None
        self._mutex = threading.Lock()
        self._held: Counter[tuple[str, str]] = Counter()
        #: By (column, value): when it was asked, and whether jobs of others were queued.
        self._answers: dict[tuple[str, str], tuple[float, bool]] = {}

    @contextmanager
    def hold(self, host: str, user_id: str | None) -> Iterator[None]:
        """Hold a place for the block.

        Raises:
            HostBusyError: host or user hold their share, and jobs of others are queued.
        """
        holders = [(_HOST, host)] + ([(_USER, user_id)] if user_id else [])
        with self._mutex:
            self._held.update(holders)
        try:
            for holder in holders:
                self._check(holder)
            yield
        finally:
            with self._mutex:
                self._held.subtract(holders)
                self._held += Counter()  # drops those that hold none

    def _check(self, holder: tuple[str, str]) -> None:
        share = self._share()
        if share is not None and self._held[holder] > share and self._others_wait(holder):
            raise _refusal(holder, share)

    def _share(self) -> int | None:
        if self.concurrency is None or self._percent >= 100:
            return None
        return max(1, self.concurrency * self._percent // 100)

    def _others_wait(self, holder: tuple[str, str]) -> bool:
        now = time.monotonic()
        asked_at, answer = self._answers.get(holder, (-CHECK_INTERVAL, False))
        if now - asked_at < CHECK_INTERVAL:
            return answer
        try:
            answer = self._jobs.has_queued_of_others(*holder)
        except DatabaseUnavailableError:
            answer = False
        # Only of those that hold more than their share: few at a time.
        self._answers = {**self._answers, holder: (now, answer)} if len(self._answers) < 100 else {}
        return answer


def _refusal(holder: tuple[str, str], share: int) -> HostBusyError:
    column, value = holder
    whose = f"downloads from {value} hold" if column == _HOST else "downloads of its user hold"
    return HostBusyError(
        f"waiting for a place: {share} {whose} their share of this worker, and jobs of others are "
        "queued. SEEN_CONCURRENCY_SHARE is that share in percent.",
        code="host_busy" if column == _HOST else "user_busy",
        retry_after=_PAUSE * random.uniform(0.5, 1.5),  # noqa: S311 - no secret hangs on it
    )
