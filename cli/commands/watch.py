"""`seen watch`: show the progress of jobs until they have finished."""

from __future__ import annotations

import time
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
    from cli.output.display import Display
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
    """Watch jobs until all have finished; the exit status is 1 when one has failed."""
    given = resolve_ids(job_ids or [])
    interrupt_on_termination()
    reader = None if has_no_database(settings_module.load()) else open_reader(show_urls=show_urls)
    watched = given or _active_jobs(reader)
    if reader is None or not watched:
        if not as_json:
            clear_busy()
            print("There are no active jobs.")
        return
    from cli.output.display import for_terminal
    from cli.output.progress.program_output import JsonLines

    display = JsonLines() if as_json else for_terminal()
    try:
        failed = _follow(reader, watched, display)
    except KeyboardInterrupt:
        display.note("Stopped watching; the downloads go on.")
        raise AnsweredInterrupt from None
    finally:
        display.close()
    raise typer.Exit(FAILED if failed else 0)


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


def _follow(reader: JobReader, watched: list[str], display: Display) -> bool:
    """Show the jobs until all have finished; return whether one has failed."""
    from cli.following.follow import pause_between_reads
    from cli.following.job_poll import JobPoll
    from cli.output.progress.summary import Summary

    poll, summary = JobPoll(reader, watched), Summary({})
    is_warned = has_failed = False
    while True:
        started = time.monotonic()
        views = poll.read()
        summary.add(views)
        display.show(views, ended=poll.ended)
        has_failed = has_failed or any(view.status is JobStatus.FAILED for view in views)
        if reader.store_error is not None and not is_warned:
            is_warned = True
            display.note(
                f"{reader.store_error} Progress is shown when the store is available again."
            )
        if all(view.is_finished for view in views):
            display.end(summary.text(poll.totals))
            return has_failed
        time.sleep(pause_between_reads(time.monotonic() - started))
