"""Progress as lines, for a file, a pipe, or a terminal that cannot move its cursor."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from cli.output.job_text import amount, percent, result_line, speed_or_state
from cli.output.messages import clear_busy, say
from cli.output.progress.endings import MANY, Endings, wait_text
from cli.output.progress.totals import NOTHING, Totals, total_lines
from domain.job import RUNNING, JobStatus
from domain.text import printable
from tasks.api.job_view import JobView

#: Seconds until the first line about progress; each further pause is longer, up to the second number.
_FIRST_PAUSE, _LONGEST_PAUSE = 2.0, 30.0
_PAUSE_GROWTH = 1.5
_WIDEST = 1000


class PlainLines:
    """Prints a line when a job starts, waits or ends, and now and then one about the progress."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._endings = Endings()
        self._shown: dict[str, tuple[JobStatus, str]] = {}
        self._pause = _FIRST_PAUSE
        self._progress_due = clock() + self._pause
        self._last_count = -1

    def show(self, views: Sequence[JobView], to_come: int = 0, ended: Totals = NOTHING) -> None:
        """Print what has changed."""
        are_many = len(views) + to_come + ended.number > MANY
        for text, is_failure in self._endings.of(views):
            (self.fail if is_failure else self.note)(text)
        for view in views:
            if not (view.is_finished or (are_many and view.status in RUNNING)):
                self._show_change(view)
        if self._clock() >= self._progress_due:
            self._show_progress(views, ended + Totals.of(views, to_come))

    def note(self, text: str) -> None:
        """Print one line."""
        clear_busy()
        print(printable(text), flush=True)

    def fail(self, text: str) -> None:
        """Print one line to standard error."""
        say(text)

    def status(self, text: str) -> None:
        """Print what the command does to standard error, which may be a terminal."""
        if text:
            self.fail(text)

    def end(self, text: str) -> None:
        """Print the last line."""
        self.note(text)

    def close(self) -> None:
        """Do nothing."""

    def _show_change(self, view: JobView) -> None:
        """Print a line when a job has started, waits for another reason, or is paused."""
        has_reason = view.status is JobStatus.WAITING or view.has_silent_disk
        reason = (view.progress.reason or "") if has_reason else ""
        if self._shown.get(view.job.id) == (view.status, reason):
            return
        before, self._shown[view.job.id] = self._shown.get(view.job.id), (view.status, reason)
        if view.has_silent_disk:
            self.note(wait_text(view))
        elif view.status in RUNNING and before and before[1] and before[0] in RUNNING:
            self.note(f"{view.label}: {speed_or_state(view)}")
        elif view.status is JobStatus.DOWNLOADING:
            self.note(f"{view.label}: started")
        elif view.status is JobStatus.WAITING:
            self.note(wait_text(view) or f"{view.label}: {speed_or_state(view)}")
        elif view.status is JobStatus.PAUSED:
            self.note(result_line(view))

    def _show_progress(self, views: Sequence[JobView], totals: Totals) -> None:
        """Print one line: about the only job that is not finished, else about all."""
        if totals.done == self._last_count:
            return
        self._last_count = totals.done
        self._pause = min(_LONGEST_PAUSE, self._pause * _PAUSE_GROWTH)
        self._progress_due = self._clock() + self._pause
        unfinished = [view for view in views if not view.is_finished]
        if totals.number > 1:
            self.note(total_lines(totals, _WIDEST)[0])
        elif unfinished and unfinished[0].status in RUNNING:
            self.note(_progress_line(unfinished[0]))


def _progress_line(view: JobView) -> str:
    share = percent(view)
    done = f"{amount(view)} ({share})" if share else amount(view)
    return f"{view.label}: {done}, {speed_or_state(view)}"
