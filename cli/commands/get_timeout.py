"""When `seen get` stops waiting for a download: a person sits in front of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from domain.job import JobStatus

if TYPE_CHECKING:
    from tasks.api.job_view import JobView

#: Attempts without --attempts. With the waits between them they are done within a minute where an
#: origin refuses at once; a service makes SEEN_MAX_ATTEMPTS.
DEFAULT_ATTEMPTS = 5
#: After a failure, so long without a byte ends the wait. Seconds.
_MAX_SILENCE = 60.0
#: Waits with these codes say nothing of the origin.
_NOT_THE_ORIGINS_FAULT = frozenset(
    {"disk_full", "host_busy", "user_busy", "part_file_busy", "worker_resources"}
)


@dataclass(slots=True)
class _Observation:
    """How one download has gone so far."""

    count: int
    moved_at: float
    has_failed: bool = False
    reason: str = ""


class GetTimeout:
    """Says of which downloads a person need not wait for more.

    Args:
        max_time: seconds for everything; None for any time.
        has_attempts: the person gave a number of attempts, so that no other limit is put on failures.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        *,
        max_time: float | None,
        has_attempts: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._end = None if max_time is None else clock() + max_time
        self._max_time = max_time
        self._is_bounded = max_time is None and not has_attempts
        self._observations: dict[str, _Observation] = {}

    def exceeded(self, views: Sequence[JobView]) -> dict[str, str]:
        """Return why not to wait any more, as the end of a sentence, by the ids of unfinished jobs."""
        now = self._clock()
        found: dict[str, str] = {}
        for one in views:
            if one.is_finished or one.job.status is JobStatus.PAUSED:
                continue
            why = self._why_exceeded(one, now)
            if why is not None:
                found[one.job.id] = why
        return found

    def _why_exceeded(self, one: JobView, now: float) -> str | None:
        observed = self._observe(one, now)
        if self._end is not None and now >= self._end:
            return _with_reason(f"the {self._max_time:g} seconds of --max-time are over", observed)
        if not self._is_bounded or not observed.has_failed:
            return None
        left = observed.moved_at + _MAX_SILENCE - now
        if left <= 0:
            return _with_reason(f"no byte has come for {_MAX_SILENCE:g} seconds", observed)
        pause = _seconds_until(one.job.next_attempt_at)
        if one.status is JobStatus.WAITING and pause > left:
            return _with_reason(f"the next attempt is {pause:.0f} seconds away", observed)
        return None

    def _observe(self, one: JobView, now: float) -> _Observation:
        count = one.progress.bytes_downloaded
        observed = self._observations.setdefault(one.job.id, _Observation(count, now))
        if count > observed.count:
            observed.moved_at, observed.has_failed = now, False
        observed.count = count
        if (
            one.status is JobStatus.WAITING
            and one.progress.error_code not in _NOT_THE_ORIGINS_FAULT
        ):
            observed.has_failed, observed.reason = True, one.progress.reason or ""
        return observed


def _with_reason(why: str, observed: _Observation) -> str:
    return f"{why}. {observed.reason}".rstrip() if observed.reason else f"{why}."


def _seconds_until(moment: datetime | None) -> float:
    return 0.0 if moment is None else (moment - datetime.now(UTC)).total_seconds()
