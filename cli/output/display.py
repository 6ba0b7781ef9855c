"""Progress as a person watches it: bars on a terminal, plain lines elsewhere, objects for programs."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from cli.output import formatting
from domain.job import JobStatus
from domain.text import printable
from tasks.api.job_view import JobView, job_as_json

if TYPE_CHECKING:
    from rich.progress import TaskID

#: Between two lines about the same download, unless its state changes. Seconds.
_LINE_EVERY = 2.0
#: Columns of a terminal: from which on it is wide, for a bar, for a name, for the numbers beside them.
_WIDE, _SHORT_BAR, _LONG_BAR = 100, 10, 20
_SHORTEST_NAME, _LONGEST_NAME, _NUMBERS = 12, 32, 54


class Display(Protocol):
    """Shows jobs as they are read, again and again."""

    def show(self, views: Sequence[JobView]) -> None:
        """Take in how the jobs stand now."""

    def note(self, text: str) -> None:
        """Tell something beside the jobs."""

    def close(self) -> None:
        """Leave the terminal as it was."""


def for_terminal() -> Display:
    """Return bars where there is a terminal, else lines."""
    return ProgressBars() if sys.stdout.isatty() else PlainLines()


def result_line(one: JobView) -> str:
    """Return one line about a job that is over or at rest."""
    progress = one.progress
    if one.status is JobStatus.COMPLETED:
        return f"{one.label}: {formatting.size(progress.bytes_downloaded)} → {progress.path}"
    reason = f": {printable(progress.reason)}" if progress.reason else ""
    return f"{one.label}: {one.status.value}{reason}"


def amount(one: JobView) -> str:
    """Return how much is there, ``12.3 of 200.0 MB``, or that the total is unknown."""
    progress = one.progress
    done = formatting.size(progress.bytes_downloaded)
    if progress.bytes_total is None:
        return f"{done}, total unknown" if progress.bytes_downloaded else "total unknown"
    total = formatting.size(progress.bytes_total)
    if done.split()[1] == total.split()[1]:
        done = done.split()[0]
    return f"{done} of {total}"


def percent(one: JobView) -> str:
    """Return the share that is there, or nothing while the total is unknown."""
    share = one.progress.progress_percent
    return "" if share is None else f"{share:.1f} %"


def speed_or_state(one: JobView) -> str:
    """Return speed and time left of a job that runs, or when one that waits is tried again."""
    job, progress = one
    if one.status is JobStatus.DOWNLOADING:
        if not progress.bytes_downloaded:
            return "connecting"
        left = progress.eta_seconds
        speed = formatting.rate(progress.download_speed_mbps)
        return speed if left is None else f"{speed}, {formatting.duration(left)} left"
    if one.status is JobStatus.WAITING:
        return _next_try(job.next_attempt_at)
    return one.status.value


def _next_try(when: datetime | None) -> str:
    seconds = 0.0 if when is None else (when - datetime.now(UTC)).total_seconds()
    return f"next try in {formatting.duration(seconds)}" if seconds > 0 else "next try now"


class PlainLines:
    """Plain lines: one for each change of state, and one every two seconds while bytes come."""

    def __init__(self) -> None:
        self._shown: dict[str, tuple[JobStatus, int, float]] = {}

    def show(self, views: Sequence[JobView]) -> None:
        """Print what changed."""
        now = time.monotonic()
        for one in views:
            status, count, shown_at = self._shown.get(one.job.id, (None, -1, 0.0))
            moved = one.progress.bytes_downloaded != count and now - shown_at >= _LINE_EVERY
            if one.status is not status or moved:
                self._shown[one.job.id] = (one.status, one.progress.bytes_downloaded, now)
                self.note(_line(one))

    def note(self, text: str) -> None:
        """Print one line."""
        print(printable(text), flush=True)

    def close(self) -> None:
        """Nothing to tidy up."""


def _line(one: JobView) -> str:
    if one.status is JobStatus.DOWNLOADING and one.progress.bytes_downloaded:
        share = percent(one)
        shown = f"{amount(one)} ({share})" if share else amount(one)
        return f"{one.label}: {shown}, {speed_or_state(one)}"
    if one.status is JobStatus.WAITING:
        return f"{one.label}: waiting, {speed_or_state(one)}. {one.progress.reason or ''}"
    if one.status in {JobStatus.QUEUED, JobStatus.DOWNLOADING, JobStatus.VERIFYING}:
        return f"{one.label}: {speed_or_state(one)}"
    return result_line(one)


class ProgressBars:
    """Live bars on a terminal; a download that is over leaves one line above them."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn
        from rich.table import Column

        def text(field: str, **column: object) -> TextColumn:
            look = Column(no_wrap=True, **column)  # type: ignore[arg-type]
            return TextColumn(f"{{task.fields[{field}]}}", markup=False, table_column=look)

        console = Console(highlight=False)
        # The name gives way on a narrow terminal: the numbers are what moves.
        bar = _SHORT_BAR if console.width < _WIDE else _LONG_BAR
        room = max(_SHORTEST_NAME, min(_LONGEST_NAME, console.width - bar - _NUMBERS))
        self._progress = Progress(
            text("label", overflow="ellipsis", max_width=room),
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
        """Move the bars."""
        for one in views:
            if one.is_finished:
                self._finish(one)
            else:
                self._move(one)

    def note(self, text: str) -> None:
        """Print one line above the bars."""
        self._progress.console.print(printable(text), markup=False, soft_wrap=True)

    def close(self) -> None:
        """Stop moving and leave the last picture."""
        self._progress.stop()

    def _explain(self, one: JobView) -> None:
        """Say once why a download waits: a bar has no room for it."""
        reason = one.progress.reason or ""
        if one.status is JobStatus.WAITING and self._reasons.get(one.job.id) != reason:
            self._reasons[one.job.id] = reason
            self.note(f"{one.label}: {reason} It is tried again.")

    def _move(self, one: JobView) -> None:
        self._explain(one)
        bar = self._bars.get(one.job.id)
        if bar is None:
            bar = self._progress.add_task("", label="", percent="", amount="", speed_or_state="")
            self._bars[one.job.id] = bar
        self._progress.update(
            bar,
            total=one.progress.bytes_total,
            completed=one.progress.bytes_downloaded,
            label=one.label,
            percent=percent(one),
            amount=amount(one),
            speed_or_state=speed_or_state(one),
        )

    def _finish(self, one: JobView) -> None:
        bar = self._bars.get(one.job.id)
        if bar is not None:
            self._progress.remove_task(bar)
        elif one.job.id in self._bars:
            return
        self._bars[one.job.id] = None
        self.note(result_line(one))


class JsonLines:
    """One JSON object a line for each change, for programs."""

    def __init__(self) -> None:
        self._shown: dict[str, str] = {}

    def show(self, views: Sequence[JobView]) -> None:
        """Print the jobs that changed."""
        for one in views:
            shown = formatting.as_json(job_as_json(one))
            if self._shown.get(one.job.id) != shown:
                self._shown[one.job.id] = shown
                print(shown, flush=True)

    def note(self, text: str) -> None:
        """Standard output is for the objects."""
        print(f"seen: {printable(text)}", file=sys.stderr)

    def close(self) -> None:
        """Nothing to tidy up."""


class NoProgress:
    """Shows nothing: the result is all that is wanted."""

    def show(self, views: Sequence[JobView]) -> None:
        """Show nothing."""

    def note(self, text: str) -> None:
        """Standard output is for the result."""
        print(f"seen: {printable(text)}", file=sys.stderr)

    def close(self) -> None:
        """Nothing to tidy up."""
