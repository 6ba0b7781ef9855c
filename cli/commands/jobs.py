"""`seen add`, `list` and `show`: queue jobs and read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import typer

from cli.arguments.download_options import FILE, DownloadOptions, ShowUrls
from cli.arguments.input_options import InputOptions, Urls, Wanted
from cli.arguments.job_filter import STATES, owner_from
from cli.arguments.job_ids import resolve_ids
from cli.arguments.option_group import expand_options
from cli.arguments.request_list import RequestList
from cli.context import has_no_database, open_reader, open_runtime, why_unpublished
from cli.errors import USAGE_ERROR, error_as_dict, exit_status
from cli.output import formatting
from cli.output.messages import say
from cli.signals import interrupt_on_termination
from domain.errors import OutputError, SeenError
from domain.job import JobFilter, JobStatus, Order, Priority
from domain.limits import check_host
from seen_local.late_settings import settings_module

if TYPE_CHECKING:
    from tasks.api.job_view import JobReader, JobView
    from worker.runtime import Runtime

ADD_EXAMPLES = """
Examples:
  seen add https://example.org/film.mkv --directory films
  seen add --priority low --owner ada https://example.org/a.iso
  seen watch $(seen add https://example.org/film.mkv)
  seen add -i urls.txt -d segments
"""
LIST_EXAMPLES = """
Examples:
  seen list --status failed
  seen list --owner ada --host example.org --limit 200
  seen list --search film.mkv
  seen list --sort ended --limit 20
  seen list --json | jq -r '.[] | select(.status == "completed") | .path'
"""

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Search = Annotated[
    str | None,
    typer.Option(
        metavar="TEXT", help="Only jobs with this text in their URL or file name, the newest first."
    ),
]

Limit = Annotated[
    int,
    typer.Option("--limit", "-n", metavar="N", min=1, max=10_000, help="At most this many."),
]
Sort = Annotated[
    Order | None,
    typer.Option(
        help="By submission; `ended`: finished jobs, the last end first; `speed`: running jobs, the "
        "fastest first; `size`, `name` and `priority`: short lists."
    ),
]


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
    webhook: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="Call this URL when a download has ended (`seen webhook`)."
        ),
    ] = None
    idempotency_key: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="A key used before returns its first job (one URL only)."),
    ] = None


@expand_options
def add(
    options: DownloadOptions,
    job: JobOptions,
    source: InputOptions,
    urls: Urls = None,
    as_json: AsJson = False,
) -> None:
    """Queue downloads for the workers and print their ids."""
    wanted = source.read("add", urls or [], options)
    requests = options.requests(
        wanted.entries,
        directory=job.directory,
        user_id=job.owner,
        max_attempts=job.max_attempts,
        priority=job.priority,
        webhook=job.webhook,
        idempotency_key=job.idempotency_key,
    )
    interrupt_on_termination()
    runtime = open_runtime()
    has_unsent = _accept(requests, runtime, wanted, as_json=as_json)
    if has_unsent:
        say(
            f"accepted, but not sent. {why_unpublished(runtime.outages)} "
            "(`seen up` runs all services on this machine.)"
        )
    if wanted.bad:
        raise typer.Exit(USAGE_ERROR)


def _accept(requests: RequestList, runtime: Runtime, wanted: Wanted, *, as_json: bool) -> bool:
    """Accept the requests and print their jobs; return whether one could not be sent to the broker."""
    from cli.following.accept import accept
    from cli.output.accepted import AcceptedJobs, AcceptedJson, AcceptProgress
    from tasks.api.submit import check_folders

    check_folders(requests.directories, runtime)  # of all groups, before the first is accepted
    progress = AcceptProgress(len(requests)).show
    if not as_json:
        printed = AcceptedJobs()
        accept(requests, runtime, printed.add, progress)
        printed.end()
        return printed.has_unsent
    as_list = AcceptedJson(open_reader(), [one.as_dict() for one in wanted.bad])
    try:
        accept(requests, runtime, as_list.add, progress)
    except (SeenError, KeyboardInterrupt) as error:
        if not as_list.is_open or isinstance(error, OutputError):
            raise
        as_list.end(*([] if isinstance(error, KeyboardInterrupt) else [error_as_dict(error)]))
        if isinstance(error, KeyboardInterrupt):
            raise
        raise typer.Exit(exit_status(error)) from None
    as_list.end()
    return as_list.has_unsent


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
    search: Search = None,
    sort: Sort = None,
    limit: Limit = 50,
    show_urls: ShowUrls = False,
    as_json: AsJson = False,
) -> None:
    """List jobs: running ones first, then waiting, queued, paused and finished ones.

    The newest of each are first. `--sort` gives another order. Ids are shortened; commands take whole
    ids and their beginnings.
    """
    where = JobFilter(status, owner_from(owner, user), None if host is None else check_host(host))
    is_new = has_no_database(settings_module.load())
    reader = None if is_new else open_reader(show_urls=show_urls)
    views = [] if reader is None else _find(reader, where, search, sort, limit + 1)
    if as_json:
        from tasks.api.job_json import job_as_json

        formatting.print_json([job_as_json(view) for view in views[:limit]])
    elif reader is None or not views:
        is_every = where == JobFilter() and search is None
        print("There are no jobs yet." if is_every else "There are no such jobs.")
    else:
        _print_table(views[:limit], reader)
    if len(views) > limit:
        text = f"there are more than these {limit:,} jobs; --limit changes how many are listed."
        say(text)


def _find(
    reader: JobReader, where: JobFilter, search: str | None, sort: Order | None, limit: int
) -> Sequence[JobView]:
    """Return the first jobs of the overview, of a search, or in an order."""
    if search is None and sort is None:
        return reader.overview(where, limit=limit)
    from tasks.api.job_page import MAX_LIMIT, JobList, read_page

    states = frozenset() if where.status is None else frozenset({where.status})
    order = sort or Order.NEWEST
    wanted = JobList(
        states=states, user_id=where.user_id, host=where.host, search=search, order=order
    )
    views: list[JobView] = []
    while len(views) < limit:
        page = read_page(reader, replace(wanted, limit=min(limit - len(views), MAX_LIMIT)))
        views += page.views
        if page.next_cursor is None:
            break
        wanted = replace(wanted, cursor=page.next_cursor)
    return views


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
