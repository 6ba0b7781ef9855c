"""Jobs: `seen add`, `list`, `show`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

import settings as settings_module
from cli.arguments import download_request, options
from cli.context import check_ids, has_no_database, open_reader, open_runtime, why_unpublished
from cli.output import formatting
from domain.job import JobFilter, JobStatus, Priority
from domain.limits import check_host

if TYPE_CHECKING:
    from tasks import SubmittedJob

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def add(
    urls: Annotated[list[str], typer.Argument(metavar="URL...", help="What to download.")],
    directory: Annotated[
        str, typer.Option("--directory", "-d", help="A folder inside the download folder.")
    ] = "",
    name: Annotated[str | None, typer.Option(help="The file's name (one URL only).")] = None,
    sha256: Annotated[
        str | None, typer.Option(metavar="HEX", help="The SHA-256 the file must have.")
    ] = None,
    checksum: Annotated[
        str | None,
        typer.Option(metavar="ALG:HEX", help=options.CHECKSUM_HELP),
    ] = None,
    user: Annotated[str | None, typer.Option(help="Whose download it is.")] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a file of that name.")
    ] = False,
    max_attempts: Annotated[
        int | None, typer.Option(help="Attempts before it fails (SEEN_MAX_ATTEMPTS).")
    ] = None,
    mirror: options.Mirrors = None,
    header: options.Headers = None,
    login: options.Login = None,
    cookie: options.Cookie = None,
    max_bytes: options.MaxBytes = None,
    connections: options.Connections = None,
    decode: options.Decode = False,
    ignore_origin_digests: options.IgnoreOriginDigests = False,
    priority: Annotated[
        Priority, typer.Option(help="The queue they wait in; `seen move` changes it.")
    ] = Priority.NORMAL,
    idempotency_key: Annotated[
        str | None,
        typer.Option(
            metavar="KEY", help="With a key used before, its job is printed (one URL only)."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Queue downloads for the workers and print their ids."""
    wanted = download_request.build(
        urls,
        directory=directory,
        name=name,
        sha256=sha256,
        checksum=checksum,
        overwrite=overwrite,
        user_id=user,
        max_attempts=max_attempts,
        mirrors=mirror,
        headers=header,
        login=login,
        cookie=cookie,
        max_bytes=max_bytes,
        connections=connections,
        decode=decode,
        ignore_origin_digests=ignore_origin_digests,
        priority=priority,
        idempotency_key=idempotency_key,
    )
    runtime = open_runtime()
    import tasks

    accepted = tasks.submit_many(wanted, runtime=runtime)
    _print_accepted(accepted, as_json=as_json)
    if any(job.is_new and job.published_at is None for job in accepted):
        print(
            f"seen: accepted, but not sent. {why_unpublished(runtime)} "
            "(`seen up` runs everything on this machine.)",
            file=sys.stderr,
        )


def list_jobs(
    status: Annotated[JobStatus | None, typer.Option(help="Only jobs in this state.")] = None,
    user: Annotated[str | None, typer.Option(help="Only this user's jobs.")] = None,
    host: Annotated[str | None, typer.Option(help="Only jobs from this host.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many, newest first.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List jobs, the newest first."""
    views = []
    if not has_no_database(settings_module.load()):
        reader = open_reader()
        where = JobFilter(status, user, None if host is None else check_host(host))
        views = reader.views(reader.jobs.find(where, limit=limit))
    if as_json:
        from tasks.api.job_view import job_as_json

        formatting.print_json([job_as_json(one) for one in views])
    elif not views:
        narrowed = status or user or host
        print("There are no such jobs." if narrowed else "There are no jobs yet.")
    else:
        from cli.output.tables import print_list

        print_list(views)


def show(
    job_id: Annotated[str, typer.Argument(metavar="ID", help="The job's id.")],
    as_json: AsJson = False,
) -> None:
    """Show everything about one job, and what became of it when."""
    check_ids([job_id])
    reader = open_reader()
    one = reader.read([job_id])[0]
    events = reader.jobs.events(job_id)
    if as_json:
        from tasks.api.job_view import event_as_json, job_as_json

        formatting.print_json(
            {**job_as_json(one), "events": [event_as_json(event) for event in events]}
        )
    else:
        from cli.output.tables import print_job

        print_job(one, events)


def _print_accepted(accepted: Sequence[SubmittedJob], *, as_json: bool) -> None:
    if as_json:
        from tasks.api.job_view import job_as_json

        views = open_reader().read([job.id for job in accepted])
        pairs = zip(views, accepted, strict=True)
        formatting.print_json([job_as_json(view) | {"is_new": job.is_new} for view, job in pairs])
        return
    print("\n".join(job.id for job in accepted))
    for job in accepted:
        if not job.is_new:
            print(
                f"seen: {job.id} is there already, {formatting.state_text(job)}; "
                "it was not added a second time.",
                file=sys.stderr,
            )
