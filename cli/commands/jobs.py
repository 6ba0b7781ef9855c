"""`seen add`, `list` and `show`: queue jobs and read them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

import settings as settings_module
from cli.arguments.download_options import FILE, DownloadOptions, ShowUrls
from cli.arguments.job_filter import STATES, owner_from
from cli.arguments.job_ids import resolve_ids
from cli.arguments.option_group import expand_options
from cli.context import has_no_database, open_reader, open_runtime, why_unpublished
from cli.output import formatting
from cli.output.messages import say
from domain.errors import OutputError
from domain.job import JobFilter, JobStatus, Priority
from domain.limits import check_host

if TYPE_CHECKING:
    from tasks import SubmittedJob
    from tasks.api.job_view import JobReader, JobView

ADD_EXAMPLES = """
Examples:
  seen add https://example.org/film.mkv --directory films
  seen add --priority low --owner ada https://example.org/a.iso
  seen watch $(seen add https://example.org/film.mkv)
"""
LIST_EXAMPLES = """
Examples:
  seen list --status failed
  seen list --owner ada --host example.org --limit 200
  seen list --json | jq -r '.[] | select(.status == "completed") | .path'
"""
#: Ids of accepted jobs that an error names.
_IDS_IN_ERROR = 10

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOptions:
    """What `seen add` knows about a job beside its download."""

    directory: Annotated[
        str,
        typer.Option(
            "--directory",
            "-d",
            metavar="DIR",
            help="A folder inside the download folder.",
            rich_help_panel=FILE,
        ),
    ] = ""
    owner: Annotated[
        str | None, typer.Option(metavar="NAME", help="The owner of the downloads.")
    ] = None
    max_attempts: Annotated[
        int | None, typer.Option(metavar="N", help="Attempts before it fails (SEEN_MAX_ATTEMPTS).")
    ] = None
    priority: Annotated[
        Priority, typer.Option(help="The queue they wait in; `seen move` changes it.")
    ] = Priority.NORMAL
    idempotency_key: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="A key used before returns its first job (one URL only)."),
    ] = None


@expand_options
def add(
    options: DownloadOptions,
    job: JobOptions,
    urls: Annotated[list[str], typer.Argument(metavar="URL", help="What to download.")],
    as_json: AsJson = False,
) -> None:
    """Queue downloads for the workers and print their ids."""
    requests = options.requests(
        urls,
        directory=job.directory,
        user_id=job.owner,
        max_attempts=job.max_attempts,
        priority=job.priority,
        idempotency_key=job.idempotency_key,
    )
    runtime = open_runtime()
    import tasks

    accepted = tasks.submit_many(requests, runtime=runtime)
    with _still_accepted(accepted):
        _print_accepted(accepted, as_json=as_json)
    if any(job.is_new and job.published_at is None for job in accepted):
        say(
            f"accepted, but not sent. {why_unpublished(runtime.outages)} "
            "(`seen up` runs all services on this machine.)"
        )


@contextmanager
def _still_accepted(accepted: Sequence[SubmittedJob]) -> Iterator[None]:
    """Say that the jobs are accepted when their ids cannot be printed."""
    try:
        yield
        sys.stdout.flush()
    except OutputError as error:
        ids = ", ".join(job.id for job in accepted[:_IDS_IN_ERROR])
        more = len(accepted) - _IDS_IN_ERROR
        rest = f" and {more:,} more" if more > 0 else ""
        effect = f"The downloads are accepted all the same: {ids}{rest}. See `seen list`."
        raise OutputError(error.error, effect) from None


def _print_accepted(accepted: Sequence[SubmittedJob], *, as_json: bool) -> None:
    from cli.output.job_state import state_and_control
    from tasks.api.job_json import job_as_json

    if as_json:
        views = open_reader().read([job.id for job in accepted])
        pairs = zip(views, accepted, strict=True)
        formatting.print_json([{**job_as_json(view), "is_new": job.is_new} for view, job in pairs])
        return
    print("\n".join(job.id for job in accepted))
    for job in accepted:
        if not job.is_new:
            say(f"{job.id} exists already, {state_and_control(job)}; it was not added again.")


def list_jobs(
    status: Annotated[
        JobStatus | None,
        typer.Option(metavar="STATE", help=f"Only jobs in this state: {STATES}."),
    ] = None,
    owner: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only jobs of this owner.")
    ] = None,
    user: Annotated[str | None, typer.Option("--user", hidden=True)] = None,
    host: Annotated[
        str | None, typer.Option(metavar="HOST", help="Only jobs from this host.")
    ] = None,
    limit: Annotated[
        int,
        typer.Option("--limit", "-n", metavar="N", min=1, max=10_000, help="At most this many."),
    ] = 50,
    show_urls: ShowUrls = False,
    as_json: AsJson = False,
) -> None:
    """List jobs: running ones first, then waiting, queued, paused and finished ones.

    The newest of each are first. Ids are shortened; commands take whole ids and their beginnings.
    """
    where = JobFilter(status, owner_from(owner, user), None if host is None else check_host(host))
    is_new = has_no_database(settings_module.load())
    reader = None if is_new else open_reader(show_urls=show_urls)
    views = [] if reader is None else reader.overview(where, limit=limit + 1)
    if as_json:
        from tasks.api.job_json import job_as_json

        formatting.print_json([job_as_json(view) for view in views[:limit]])
    elif reader is None or not views:
        print("There are no jobs yet." if where == JobFilter() else "There are no such jobs.")
    else:
        _print_table(views[:limit], reader)
    if len(views) > limit:
        text = f"there are more than these {limit:,} jobs; --limit changes how many are listed."
        say(text)


def _print_table(views: Sequence[JobView], reader: JobReader) -> None:
    from cli.output.tables import print_list

    print_list(views, reader.short_ids([view.job.id for view in views]))


def show(
    job_ids: Annotated[
        list[str], typer.Argument(metavar="ID", help="The jobs' ids, or their beginnings.")
    ],
    show_urls: Annotated[bool, typer.Option("--show-urls", hidden=True)] = False,  # noqa: ARG001
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON: an object for one id, a list for several.")
    ] = False,
) -> None:
    """Show all fields of jobs, their URLs whole, and their histories."""
    whole_ids = resolve_ids(job_ids)
    reader = open_reader()
    views = reader.read(whole_ids)
    if as_json:
        found = [_with_events(view, reader) for view in views]
        formatting.print_json(found if len(job_ids) > 1 else found[0])
        return
    from cli.output.tables import print_job

    for number, view in enumerate(views):
        if number:
            print()
        print_job(view, reader.events(view.job.id))


def _with_events(view: JobView, reader: JobReader) -> dict[str, object]:
    from tasks.api.job_json import event_as_json, job_as_json

    events = [event_as_json(one) for one in reader.events(view.job.id)]
    return {**job_as_json(view), "events": events}
