"""Jobs as tables."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from cli.output import formatting
from cli.output.field_text import fields
from cli.output.job_state import state
from cli.output.job_text import percent
from cli.output.terminal import Terminal
from domain.job import JobEvent, JobStatus
from domain.text import printable
from tasks.api.job_json import job_as_json
from tasks.api.job_view import JobView

#: The width where standard output is not a terminal: wide enough to cut no name.
_FILE_WIDTH = 250
#: A terminal of this width has room for all columns.
_WIDE = 110
#: One of this width has room for sizes.
_HAS_SIZE = 80

_COLOURS = {
    JobStatus.COMPLETED: "green",
    JobStatus.FAILED: "red",
    JobStatus.WAITING: "yellow",
    JobStatus.PAUSED: "yellow",
}


def _console() -> Console:
    """Return a console with the terminal's own colours, or without any style."""
    return Console(
        highlight=False,
        width=None if sys.stdout.isatty() else _FILE_WIDTH,
        color_system="standard" if Terminal.of(sys.stdout).has_colour else None,
    )


def print_list(views: Sequence[JobView], ids: Mapping[str, str]) -> None:
    """Print one line a job; a narrow terminal gets id, state, progress and name only.

    A job that waits or has failed has its reason below its name.

    Args:
        views: the jobs.
        ids: by job id the one to show.
    """
    console = _console()
    wide, has_size = console.width >= _WIDE, console.width >= _HAS_SIZE
    table = Table(
        Column("id", no_wrap=True),
        Column("status", no_wrap=wide),
        *((Column("size", no_wrap=True, justify="right"),) if has_size else ()),
        Column("progress", no_wrap=True, justify="right"),
        *((Column("speed", no_wrap=True, justify="right"),) if wide else ()),
        *((Column("updated", no_wrap=True),) if wide else ()),
        Column("name", overflow="fold"),
        box=None,
        pad_edge=False,
        header_style="bold",
    )
    for view in views:
        table.add_row(
            ids[view.job.id],
            Text(state(view), style=_COLOURS.get(view.status, "")),
            *((_size(view),) if has_size else ()),
            _progress(view),
            *((_speed(view), _updated(view)) if wide else ()),
            _name_and_reason(view),
        )
    console.print(table)


def print_job(view: JobView, events: Sequence[JobEvent]) -> None:
    """Print all fields of one job that have a value, and its history."""
    console = _console()
    console.print(_fields(view))
    console.print()
    console.print(_history(events))


def _fields(view: JobView) -> Table:
    job = job_as_json(view)
    job["status"], job["waiting_for"] = state(view), None
    table = Table.grid(padding=(0, 2))
    for name, text in fields(job):
        table.add_row(Text(name, style="bold"), Text(printable(text)))
    return table


def _history(events: Sequence[JobEvent]) -> Table:
    table = Table(
        "when",
        "change",
        Column("fence", justify="right"),
        Column("attempt", justify="right"),
        "worker",
        "reason",
        box=None,
        pad_edge=False,
        header_style="bold",
    )
    for event in events:
        table.add_row(
            formatting.moment(event.at),
            _change(event),
            str(event.fence or ""),
            str(event.attempt or ""),
            event.worker or "",
            Text(printable(event.reason or "")),
        )
    return table


def _change(event: JobEvent) -> str:
    if event.from_status is event.to_status:
        return event.to_status.value  # a note, not a change of state
    source = event.from_status.value if event.from_status else "new"
    return f"{source} → {event.to_status.value}"


def _name_and_reason(view: JobView) -> Text:
    """Return the name, and for a job that waits or failed the reason on the next line."""
    text = Text(view.label)
    reason = view.progress.reason
    has_reason = view.status in {JobStatus.WAITING, JobStatus.FAILED} or view.has_silent_disk
    if reason and has_reason:
        text.append(f"\n{printable(reason)}", style="dim")
    return text


def _size(view: JobView) -> str:
    total = view.progress.bytes_total
    return "" if total is None else formatting.size(total)


def _progress(view: JobView) -> str:
    done = view.progress.bytes_downloaded
    return percent(view) or (formatting.size(done) if done else "")


def _speed(view: JobView) -> str:
    speed = view.progress.speed
    return formatting.rate(speed) if speed else ""


def _updated(view: JobView) -> str:
    return formatting.ago(view.progress.updated_at or view.job.updated_at)
