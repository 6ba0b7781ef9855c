"""Limits the part of a worker's concurrency that one host or user may use while others wait."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial

from database import JobRepository
from domain.errors import DatabaseUnavailableError, HostBusyError
from domain.limits import HOST_BUSY, USER_BUSY

#: Mean delay of a refused job. Seconds.
_RETRY_AFTER = 5.0
#: Seconds for which an answer of SQL is used: whether jobs of other hosts or users are queued.
CHECK_INTERVAL = 1.0
#: Answers kept at most. Only hosts and users above their share need one.
_MAX_ANSWERS = 100

#: A host or user: the column of `jobs`, and its value.
_Holder = tuple[str, str]
_HOST, _USER = "host", "user_id"

InThread = Callable[[Callable[[_Holder], None], _Holder], Awaitable[None]]


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
        #: Questions under way, one for all who wait. Of the event loop.
        self._asking: dict[_Holder, asyncio.Future[None]] = {}

    async def look_ahead(self, host: str, user_id: str | None, in_thread: InThread) -> None:
        """Ask SQL, in a thread, what `hold` has to know; an event loop must not wait for that itself.

        Await nothing between this and `hold`.

        Args:
            in_thread: calls a function with an argument in a thread.
        """
        for holder in _holders(host, user_id):
            if self._exceeds_share(self._running[holder] + 1) and not self._knows(holder):
                if holder not in self._asking:
                    self._asking[holder] = asyncio.ensure_future(in_thread(self._ask, holder))
                try:
                    await asyncio.shield(self._asking[holder])
                finally:
                    self._asking.pop(holder, None)

    def hold(self, host: str, user_id: str | None) -> Callable[[], None]:
        """Count one more download; return the function that counts it no more, to be called once.

        Raises:
            HostBusyError: host or user use their share, and jobs of others are queued.
        """
        holders = _holders(host, user_id)
        for holder in holders:
            self._check(holder)
        with self._mutex:
            for holder in holders:
                self._running[holder] += 1
        return partial(self._release, holders)

    def _release(self, holders: list[_Holder]) -> None:
        with self._mutex:
            for holder in holders:
                self._running[holder] -= 1
                if not self._running[holder]:
                    del self._running[holder]

    def _check(self, holder: _Holder) -> None:
        if self._exceeds_share(self._running[holder] + 1) and self._others_queued(holder):
            raise _refusal(holder, self._share() or 1)

    def _exceeds_share(self, running: int) -> bool:
        share = self._share()
        return share is not None and running > share

    def _share(self) -> int | None:
        if self.concurrency is None or self._percent >= 100:
            return None
        return max(1, self.concurrency * self._percent // 100)

    def _others_queued(self, holder: _Holder) -> bool:
        return self._answers.get(holder, (0.0, False))[1]

    def _knows(self, holder: _Holder) -> bool:
        """Return whether SQL has answered a moment ago."""
        asked_at, _ = self._answers.get(holder, (-CHECK_INTERVAL, False))
        return time.monotonic() - asked_at < CHECK_INTERVAL

    def _ask(self, holder: _Holder) -> None:
        try:
            answer = self._jobs.has_queued_of_others(*holder)
        except DatabaseUnavailableError:
            answer = False
        with self._mutex:
            kept = self._answers if len(self._answers) < _MAX_ANSWERS else {}
            self._answers = {**kept, holder: (time.monotonic(), answer)}


def _holders(host: str, user_id: str | None) -> list[_Holder]:
    return [(_HOST, host)] + ([(_USER, user_id)] if user_id else [])


def _refusal(holder: _Holder, share: int) -> HostBusyError:
    column, host = holder
    is_host = column == _HOST
    # Reasons are logged, so they do not name users.
    where, of = (f" for {host}", "from it") if is_host else ("", "of its user")
    return HostBusyError(
        f"waiting{where}: {share} downloads {of} use their share of this worker, and jobs of others "
        "are queued. SEEN_CONCURRENCY_SHARE sets the share in percent.",
        code=HOST_BUSY if is_host else USER_BUSY,
        retry_after=_RETRY_AFTER * random.uniform(0.5, 1.5),  # noqa: S311 - not used for security
    )
