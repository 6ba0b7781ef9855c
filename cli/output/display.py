"""Progress of jobs: bars on a terminal, lines in a file or pipe, JSON objects for programs."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from cli.output import formatting
from cli.output.job_state import state
from domain.job import JobStatus
from domain.text import printable
from tasks.api.job_json import job_as_json
from tasks.api.job_view import JobView

if TYPE_CHECKING:
    from rich.progress import TaskID

#: Seconds between two lines about the same download, unless its state changes.
_LINE_INTERVAL = 2.0
#: Columns of a terminal from which a long bar fits; widths of the bars, of the name and of the numbers.
_WIDE, _SHORT_BAR, _LONG_BAR = 100, 10, 20
_SHORTEST_NAME, _LONGEST_NAME, _NUMBERS = 12, 32, 54


class Display(Protocol):
    """Shows jobs; `show` is called for each poll."""

    def show(self, views: Sequence[JobView]) -> None:
        """Update what is shown."""

    def note(self, text: str) -> None:
        """Print a line that is not about the progress of a job."""

    def close(self) -> None:
        """Restore the terminal."""


def for_terminal() -> Display:
    """Return bars where standard output is a terminal, else lines."""
    return ProgressBars() if sys.stdout.isatty() else PlainLines()


def result_line(view: JobView) -> str:
    """Return one line about a job that is finished or paused."""
    progress = view.progress
    if view.status is JobStatus.COMPLETED:
        return f"{view.label}: {formatting.size(progress.bytes_downloaded)} → {progress.path}"
    reason = f": {printable(progress.reason)}" if progress.reason else ""
    return f"{view.label}: {view.status.value}{reason}"


def amount(view: JobView) -> str:
    """Return downloaded and total bytes, ``12.3 of 200.0 MB``."""
    progress = view.progress
    done = formatting.size(progress.bytes_downloaded)
    if progress.bytes_total is None:
        return f"{done}, total unknown" if progress.bytes_downloaded else "total unknown"
    total = formatting.size(progress.bytes_total)
    if done.split()[1] == total.split()[1]:
        done = done.split()[0]
    return f"{done} of {total}"


def percent(view: JobView) -> str:
    """Return the downloaded share, ``7.5 %``; empty while the total is unknown."""
    share = view.progress.progress_percent
    return "" if share is None else f"{share:.1f} %"


def speed_or_state(view: JobView) -> str:
    """Return speed and time left of a download that receives bytes, else the state."""
    progress = view.progress
    if view.status is not JobStatus.DOWNLOADING:
        return state(view)
    if not progress.bytes_downloaded:
        return "connecting"
    speed, left = formatting.rate(progress.speed), progress.eta_seconds
    return speed if left is None else f"{speed}, {formatting.duration(left)} left"


class PlainLines:
    """Prints a line for each change of state, and every two seconds while bytes arrive."""

    def __init__(self) -> None:
        self._shown: dict[str, tuple[JobStatus, int, float]] = {}

    def show(self, views: Sequence[JobView]) -> None:
        """Print a line for each job that changed."""
        now = time.monotonic()
        for view in views:
            count = view.progress.bytes_downloaded
            status, shown_count, shown_at = self._shown.get(view.job.id, (None, -1, 0.0))
            moved = count != shown_count and now - shown_at >= _LINE_INTERVAL
            if view.status is not status or moved:
                self._shown[view.job.id] = (view.status, count, now)
                self.note(_line(view))

    def note(self, text: str) -> None:
        """Print one line."""
        print(printable(text), flush=True)

    def close(self) -> None:
        """Do nothing."""


def _line(view: JobView) -> str:
    if view.status is JobStatus.DOWNLOADING and view.progress.bytes_downloaded:
        share = percent(view)
        done = f"{amount(view)} ({share})" if share else amount(view)
        return f"{view.label}: {done}, {speed_or_state(view)}"
    if view.status is JobStatus.WAITING:
        return f"{view.label}: {state(view)}. {view.progress.reason or ''}".rstrip()
    if view.status in {JobStatus.QUEUED, JobStatus.DOWNLOADING, JobStatus.VERIFYING}:
        return f"{view.label}: {speed_or_state(view)}"
    return result_line(view)


class ProgressBars:
    """Live bars on a terminal; a finished job's bar becomes one line above the others."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn
        from rich.table import Column

        def text(field: str, **column: object) -> TextColumn:
            look = Column(no_wrap=True, **column)  # type: ignore[arg-type]
            return TextColumn(f"{{task.fields[{field}]}}", markup=False, table_column=look)

        console = Console(highlight=False)
        # On a narrow terminal the name is shortened, not the numbers.
        bar = _SHORT_BAR if console.width < _WIDE else _LONG_BAR
        name_width = max(_SHORTEST_NAME, min(_LONGEST_NAME, console.width - bar - _NUMBERS))
        self._progress = Progress(
            text("label", overflow="ellipsis", max_width=name_width),
            BarColumn(bar_width=bar, table_column=Column(no_wrap=True, min_width=bar)),
            text("percent", justify="right", min_width=7),
            text("amount"),
            text("speed_or_state", overflow="ellipsis"),
            console=console,
            refresh_per_second=8,
        )
        self._bars: dict[str, TaskID | None] = {}
        self._reasons: dict[str, str] = {}
        self._progress.start()

    def show(self, views: Sequence[JobView]) -> None:
        """Update the bars."""
        for view in views:
            if view.is_finished:
                self._finish(view)
            else:
                self._update(view)

    def note(self, text: str) -> None:
        """Print one line above the bars."""
        self._progress.console.print(printable(text), markup=False, soft_wrap=True)

    def close(self) -> None:
        """Stop updating; the bars stay on the screen as they are."""
        self._progress.stop()

    def _explain_wait(self, view: JobView) -> None:
        """Print once why a job waits: the sentence does not fit beside a bar."""
        reason = view.progress.reason or ""
        if view.status is JobStatus.WAITING and self._reasons.get(view.job.id) != reason:
            self._reasons[view.job.id] = reason
            self.note(f"{view.label}: {state(view)}. {reason}")

    def _update(self, view: JobView) -> None:
        self._explain_wait(view)
        bar = self._bars.get(view.job.id)
        if bar is None:
            bar = self._progress.add_task("", label="", percent="", amount="", speed_or_state="")
            self._bars[view.job.id] = bar
        self._progress.update(
            bar,
            total=view.progress.bytes_total,
            completed=view.progress.bytes_downloaded,
            label=view.label,
            percent=percent(view),
            amount=amount(view),
            speed_or_state=speed_or_state(view),
        )

    def _finish(self, view: JobView) -> None:
        bar = self._bars.get(view.job.id)
        if bar is not None:
            self._progress.remove_task(bar)
        elif view.job.id in self._bars:
            return
        self._bars[view.job.id] = None
        self.note(result_line(view))


class JsonLines:
    """Prints one JSON object a line for each change of a job."""

    def __init__(self) -> None:
        self._shown: dict[str, str] = {}

    def show(self, views: Sequence[JobView]) -> None:
        """Print the jobs that changed."""
        for view in views:
            text = formatting.as_json(job_as_json(view))
            if self._shown.get(view.job.id) != text:
                self._shown[view.job.id] = text
                print(text, flush=True)

    def note(self, text: str) -> None:
        """Print to standard error: standard output has the JSON."""
        print(f"seen: {printable(text)}", file=sys.stderr)

    def close(self) -> None:
        """Do nothing."""


class NoProgress:
    """Shows no progress, for commands that print a result as JSON at the end."""

    def show(self, views: Sequence[JobView]) -> None:
        """Do nothing."""

    def note(self, text: str) -> None:
        """Print to standard error: standard output has the JSON."""
        print(f"seen: {printable(text)}", file=sys.stderr)

    def close(self) -> None:
        """Do nothing."""
