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
ATTEMPTS = 5
#: After a failure, so long without a byte ends the wait. Seconds.
_WITHOUT_A_BYTE = 60.0
#: Waits with these codes say nothing of the origin.
_NOT_A_FAILURE = frozenset(
    {"disk_full", "host_busy", "user_busy", "part_file_busy", "worker_resources"}
)


@dataclass(slots=True)
class _Course:
    """How one download has gone so far."""

    count: int
    moved_at: float
    has_failed: bool = False
    reason: str = ""


class Patience:
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
        self._courses: dict[str, _Course] = {}

    def exhausted(self, views: Sequence[JobView]) -> dict[str, str]:
        """Return why not to wait any more, as the end of a sentence, by the ids of unfinished jobs."""
        now = self._clock()
        found: dict[str, str] = {}
        for one in views:
            if one.is_over or one.job.status is JobStatus.PAUSED:
                continue
            why = self._look(one, now)
            if why is not None:
                found[one.job.id] = why
        return found

    def _look(self, one: JobView, now: float) -> str | None:
        course = self._note(one, now)
        if self._end is not None and now >= self._end:
            return _with_reason(f"the {self._max_time:g} seconds of --max-time are over", course)
        if not self._is_bounded or not course.has_failed:
            return None
        left = course.moved_at + _WITHOUT_A_BYTE - now
        if left <= 0:
            return _with_reason(f"no byte has come for {_WITHOUT_A_BYTE:g} seconds", course)
        pause = _seconds_until(one.job.next_attempt_at)
        if one.status is JobStatus.WAITING and pause > left:
            return _with_reason(f"the next attempt is {pause:.0f} seconds away", course)
        return None

    def _note(self, one: JobView, now: float) -> _Course:
        count = one.progress.bytes_downloaded
        course = self._courses.setdefault(one.job.id, _Course(count, now))
        if count > course.count:
            course.moved_at, course.has_failed = now, False
        course.count = count
        if one.status is JobStatus.WAITING and one.progress.error_code not in _NOT_A_FAILURE:
            course.has_failed, course.reason = True, one.progress.reason or ""
        return course


def _with_reason(why: str, course: _Course) -> str:
    return f"{why}. {course.reason}".rstrip() if course.reason else f"{why}."


def _seconds_until(moment: datetime | None) -> float:
    return 0.0 if moment is None else (moment - datetime.now(UTC)).total_seconds()
