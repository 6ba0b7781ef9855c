"""`seen watch`: show the progress of jobs until they have finished."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from cli.arguments.download_options import ShowUrls
from cli.arguments.job_ids import resolve_ids
from cli.context import has_no_database, open_reader
from cli.errors import FAILED
from cli.output.messages import clear_busy
from cli.signals import AnsweredInterrupt, interrupt_on_termination
from domain.job import JobFilter, JobStatus
from seen_local.late_settings import settings_module

if TYPE_CHECKING:
    from tasks.api.job_view import JobReader

#: Without ids, at most this many jobs of each state are watched.
_MAX_JOBS_PER_STATE = 10_000


def watch(
    job_ids: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="ID",
            help="The jobs' ids, or their beginnings; else all unfinished ones, but not paused.",
        ),
    ] = None,
    show_urls: ShowUrls = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object a line for each change.")
    ] = False,
) -> None:
    """Watch jobs until all have finished; the exit status is 1 when one has failed.

    Keys on a terminal: arrows (or j and k) mark a job, p pauses or resumes it, c cancels it after a
    question, s sorts, / filters, Escape shows all again, q leaves. The downloads go on.
    """
    given = resolve_ids(job_ids or [])
    interrupt_on_termination()
    reader = None if has_no_database(settings_module.load()) else open_reader(show_urls=show_urls)
    watched = given or _active_jobs(reader)
    if reader is None or not watched:
        if not as_json:
            clear_busy()
            print("There are no active jobs.")
        return
    raise typer.Exit(FAILED if _show(reader, watched, as_json=as_json) else 0)


def _show(reader: JobReader, watched: list[str], *, as_json: bool) -> bool:
    """Show the jobs until all have finished; return whether one has failed."""
    from cli.output.display import for_terminal
    from cli.output.progress.program_output import JsonLines
    from cli.watching.keyboard import Keyboard
    from cli.watching.watch import LEFT, watch_jobs

    with ExitStack() as opened:
        keyboard = opened.enter_context(Keyboard(sys.stdin))
        display = JsonLines() if as_json else for_terminal(before_stop=keyboard.restore)
        opened.callback(display.close)
        try:
            return watch_jobs(reader, watched, display, keyboard)
        except KeyboardInterrupt:
            display.note(LEFT)
            raise AnsweredInterrupt from None


def _active_jobs(reader: JobReader | None) -> list[str]:
    """Return the ids of jobs that are neither finished nor paused, the oldest first."""
    if reader is None:
        return []
    from tasks.api.job_view import IDLE

    found = [
        view.job.id
        for status in JobStatus
        if status not in IDLE
        for view in reader.find(JobFilter(status), limit=_MAX_JOBS_PER_STATE)
    ]
    return sorted(found)
