"""Jobs as tables for people."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from cli.output import formatting
from cli.output.display import percent
from domain.job import JobEvent, JobStatus
from domain.text import printable
from tasks.api.job_view import JobView, job_as_json

#: Output that is not a terminal has no width of its own; names are not to be cut there.
_FILE_WIDTH = 250
#: From this width on there is room for everything.
_WIDE = 110

_COLOURS = {
    JobStatus.COMPLETED: "green",
    JobStatus.FAILED: "red",
    JobStatus.DOWNLOADING: "cyan",
    JobStatus.VERIFYING: "cyan",
    JobStatus.WAITING: "yellow",
    JobStatus.PAUSED: "yellow",
}


def _console() -> Console:
    return Console(highlight=False, width=None if sys.stdout.isatty() else _FILE_WIDTH)


def print_list(views: Sequence[JobView]) -> None:
    """Print one line a job; a narrow terminal keeps what tells the jobs apart."""
    console = _console()
    wide = console.width >= _WIDE
    table = Table(
        Column("id", no_wrap=True),
        Column("status", no_wrap=True),
        Column("progress", no_wrap=True, justify="right"),
        *((Column("speed", no_wrap=True, justify="right"),) if wide else ()),
        *((Column("updated", no_wrap=True),) if wide else ()),
        Column("name", overflow="fold"),
        box=None,
        pad_edge=False,
        header_style="bold",
    )
    for one in views:
        table.add_row(
            one.job.id,
            _status(one.status),
            _progress(one),
            *((_speed(one), _updated(one)) if wide else ()),
            Text(one.title),
        )
    console.print(table)


def print_job(one: JobView, events: Sequence[JobEvent]) -> None:
    """Print everything that is known about one job."""
    console = _console()
    facts = Table.grid(padding=(0, 2))
    for name, value in job_as_json(one).items():
        if value not in (None, "", False, []):
            text = ", ".join(value) if isinstance(value, list) else str(value)
            facts.add_row(Text(name, style="bold"), Text(printable(text)))
    console.print(facts)
    trail = Table(
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
        trail.add_row(
            formatting.moment(event.at),
            _change(event),
            str(event.fence or ""),
            str(event.attempt or ""),
            event.worker or "",
            Text(printable(event.reason or "")),
        )
    console.print()
    console.print(trail)


def _change(event: JobEvent) -> str:
    if event.from_status is event.to_status:
        return event.to_status.value  # a note
    source = event.from_status.value if event.from_status else "new"
    return f"{source} → {event.to_status.value}"


def _status(status: JobStatus) -> Text:
    return Text(status.value, style=_COLOURS.get(status, ""))


def _progress(one: JobView) -> str:
    done = one.progress.bytes_downloaded
    return percent(one) or (formatting.size(done) if done else "")


def _speed(one: JobView) -> str:
    speed = one.progress.download_speed_mbps
    return formatting.rate(speed) if speed else ""


def _updated(one: JobView) -> str:
    return formatting.ago(one.progress.updated_at or one.job.updated_at)
