"""`seen watch`: jobs as they go on, until they have finished."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

import settings as settings_module
from cli.context import check_ids, has_no_database, open_reader
from cli.errors import FAILED
from cli.signals import interrupt_on_termination
from domain.job import FINISHED, JobFilter, JobStatus

if TYPE_CHECKING:
    from cli.output.display import Display
    from tasks.api.job_view import JobReader

_POLL = 0.2
#: Without ids, so many unfinished jobs of each state are watched.
_MOST = 100


def watch(
    job_ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ID...]", help="The jobs; by default all that go on now."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object a line for each change.")
    ] = False,
) -> None:
    """Watch jobs until all of them have finished; exit status 1 when one has failed."""
    check_ids(job_ids or [])
    interrupt_on_termination()
    reader = None if has_no_database(settings_module.load()) else open_reader()
    watched = list(dict.fromkeys(job_ids or [])) or _active_jobs(reader)
    if reader is None or not watched:
        if not as_json:
            print("Nothing is going on.")
        return
    from cli.output.display import JsonLines, for_terminal

    display = JsonLines() if as_json else for_terminal()
    try:
        failed = _follow(reader, watched, display)
    finally:
        display.close()
    raise typer.Exit(FAILED if failed else 0)


def _active_jobs(reader: JobReader | None) -> list[str]:
    """Return what will go on by itself, the oldest first: what is finished or paused will not."""
    if reader is None:
        return []
    resting = {*FINISHED, JobStatus.PAUSED}
    states = [status for status in JobStatus if status not in resting]
    found = [job for state in states for job in reader.jobs.find(JobFilter(state), limit=_MOST)]
    return sorted(job.id for job in found)


def _follow(reader: JobReader, watched: list[str], display: Display) -> bool:
    """Show the jobs until all have finished; True when one of them failed."""
    warned = False
    while True:
        views = reader.read(watched)
        display.show(views)
        if reader.store_error is not None and not warned:
            warned = True
            display.note(f"{reader.store_error} Progress is shown when the store serves again.")
        if all(one.is_finished for one in views):
            return any(one.status is JobStatus.FAILED for one in views)
        time.sleep(_POLL)
