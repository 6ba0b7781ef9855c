"""When `seen get` stops waiting for a download."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from domain.job import JobStatus

if TYPE_CHECKING:
    from tasks.api.job_view import JobView

#: Attempts without --attempts: with their back-off they take less than a minute where an origin refuses
#: at once. (A service makes SEEN_MAX_ATTEMPTS.)
DEFAULT_ATTEMPTS = 5
#: After a failed attempt, the longest time without a byte. Seconds.
_MAX_SILENCE = 60.0
#: Waiting jobs with these codes have not failed at the origin.
_NOT_THE_ORIGINS_FAULT = frozenset(
    {"disk_full", "host_busy", "user_busy", "total_busy", "part_file_busy", "worker_resources"}
)


@dataclass(slots=True)
class _Observation:
    """The byte count of a job, when it last rose, and the last failure since then."""

    count: int
    moved_at: float
    has_failed: bool = False
    reason: str = ""


class GetTimeout:
    """Decides which downloads are not waited for any longer.

    Args:
        max_time: seconds for all downloads; None for no limit.
        has_attempts: --attempts is given: then a download may be silent for longer than a minute.
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
        self._has_silence_limit = max_time is None and not has_attempts
        self._observations: dict[str, _Observation] = {}

    @property
    def is_over(self) -> bool:
        """Whether the time for all downloads is over."""
        return self._end is not None and self._clock() >= self._end

    def exceeded(self, views: Sequence[JobView]) -> dict[str, str]:
        """Return the ids of unfinished jobs not to wait for any longer, each with the reason."""
        now = self._clock()
        found: dict[str, str] = {}
        for view in views:
            if view.is_idle:
                continue
            why = self._why_exceeded(view, now)
            if why is not None:
                found[view.job.id] = why
        return found

    def _why_exceeded(self, view: JobView, now: float) -> str | None:
        observed = self._observe(view, now)
        if self._end is not None and now >= self._end:
            return _with_reason(f"--max-time of {self._max_time:g} seconds is over", observed)
        if not self._has_silence_limit or not observed.has_failed:
            return None
        left = observed.moved_at + _MAX_SILENCE - now
        if left <= 0:
            return _with_reason(f"no byte arrived for {_MAX_SILENCE:g} seconds", observed)
        pause = view.seconds_to_next_attempt
        if view.status is JobStatus.WAITING and pause > left:
            return _with_reason(f"the next attempt is {pause:.0f} seconds away", observed)
        return None

    def _observe(self, view: JobView, now: float) -> _Observation:
        count = view.progress.bytes_downloaded
        observed = self._observations.setdefault(view.job.id, _Observation(count, now))
        if count > observed.count:
            observed.moved_at, observed.has_failed = now, False
        observed.count = count
        is_waiting = view.status is JobStatus.WAITING
        if is_waiting and view.progress.error_code not in _NOT_THE_ORIGINS_FAULT:
            observed.has_failed, observed.reason = True, view.progress.reason or ""
        return observed


def _with_reason(why: str, observed: _Observation) -> str:
    return f"{why}. {observed.reason}".rstrip() if observed.reason else f"{why}."
