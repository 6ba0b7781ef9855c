"""Whether the workers of `seen get` start its jobs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cli.errors import StackError
from cli.output.resume_command import how_to_continue
from domain.job import JobStatus

if TYPE_CHECKING:
    from cli.following.batch import Batch
    from cli.local_stack.client import StackClient
    from cli.output.display import Display
    from tasks.api.job_view import JobView

#: After this long in the queue without a worker, a hint is printed. Seconds.
_START_WARNING_AFTER = 15.0


class StartCheck:
    """Notices a stack that has ended, and jobs that no worker starts."""

    def __init__(self, display: Display, stack: StackClient | None) -> None:
        self._display = display
        self._stack = stack
        self._started_at = self._checked_at = time.monotonic()
        self._is_warned = self._is_reported = False

    def run(self, views: Sequence[JobView], batch: Batch) -> None:
        """Check at most once a second, and report a busy worker at once.

        Raises:
            StackError: the local stack has ended.
        """
        self._report_busy(views)
        now = time.monotonic()
        if now - self._checked_at < 1.0:
            return
        self._checked_at = now
        if self._stack is not None and not self._stack.is_alive:
            raise StackError(f"The local stack was stopped. {how_to_continue(batch.typed())}")
        if now - self._started_at > _START_WARNING_AFTER:
            self._warn_if_not_started(views)

    def _report_busy(self, views: Sequence[JobView]) -> None:
        if self._stack is None or self._is_reported:
            return
        self._is_reported = any(view.status is not JobStatus.QUEUED for view in views)
        if self._is_reported:
            self._stack.report_busy()

    def _warn_if_not_started(self, views: Sequence[JobView]) -> None:
        if self._is_warned or any(view.status is not JobStatus.QUEUED for view in views):
            return
        self._is_warned = True
        stack = self._stack
        hint = f"The logs are in {stack.data_dir / 'logs'}." if stack else "Is a worker running?"
        self._display.note(f"No worker has started a download yet. {hint} Run `seen doctor`.")
