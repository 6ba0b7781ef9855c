"""Jobs: `seen add`, `list`, `show`, `pause`, `resume`, `cancel`, `retry`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

import settings as settings_module
from cli import formats, options, requests
from cli.session import check_ids, is_empty, open_reader, open_runtime
from domain.job import JobStatus

Ids = Annotated[list[str], typer.Argument(metavar="ID...", help="The jobs' ids.")]
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
    as_json: AsJson = False,
) -> None:
    """Queue downloads for the workers and print their ids."""
    wanted = requests.build(
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
    )
    runtime = open_runtime()
    import tasks

    accepted = tasks.submit_many(wanted, runtime=runtime)
    _print_jobs([job.id for job in accepted], as_json=as_json)
    if any(job.published_at is None for job in accepted):
        print(
            "seen: accepted, but the store does not answer: it starts when the store is back. "
            "(`seen up` runs everything on this machine.)",
            file=sys.stderr,
        )


def list_jobs(
    status: Annotated[JobStatus | None, typer.Option(help="Only jobs in this state.")] = None,
    user: Annotated[str | None, typer.Option(help="Only this user's jobs.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many, newest first.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List jobs, the newest first."""
    views = []
    if not is_empty(settings_module.load()):
        reader = open_reader()
        views = reader.views(reader.jobs.find(status=status, user_id=user, limit=limit))
    if as_json:
        from cli.live import describe

        formats.print_json([describe(one) for one in views])
    elif not views:
        print("There are no such jobs." if status or user else "There are no jobs yet.")
    else:
        from cli.tables import print_list

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
        from cli.live import describe, describe_event

        formats.print_json({**describe(one), "events": [describe_event(event) for event in events]})
    else:
        from cli.tables import print_job

        print_job(one, events)


def pause(job_ids: Ids, as_json: AsJson = False) -> None:
    """Stop jobs until they are resumed; what they have is kept."""
    _change("pause", job_ids, as_json=as_json)


def resume(job_ids: Ids, as_json: AsJson = False) -> None:
    """Let paused jobs go on."""
    _change("resume", job_ids, as_json=as_json)


def cancel(job_ids: Ids, as_json: AsJson = False) -> None:
    """Stop jobs for good; what they have so far is removed."""
    _change("cancel", job_ids, as_json=as_json)


def retry(job_ids: Ids, as_json: AsJson = False) -> None:
    """Queue failed or cancelled jobs again, with all their attempts."""
    _change("retry", job_ids, as_json=as_json)


def _change(word: str, job_ids: Sequence[str], *, as_json: bool) -> None:
    check_ids(job_ids)
    runtime = open_runtime()
    import tasks

    for job_id in job_ids:
        runtime.jobs.get(job_id)  # all are there, or nothing is changed
    for job_id in job_ids:
        getattr(tasks, word)(job_id, runtime=runtime)
    _print_jobs(list(job_ids), as_json=as_json, states=True)


def _print_jobs(job_ids: list[str], *, as_json: bool, states: bool = False) -> None:
    """Print how jobs stand after a change: ids for `add`, states for the others, or JSON."""
    if not as_json and not states:
        print("\n".join(job_ids))
        return
    from cli.live import describe

    views = open_reader().read(job_ids)
    if as_json:
        formats.print_json([describe(one) for one in views])
        return
    for one in views:
        asked = f" ({one.job.control} requested)" if one.job.control else ""
        print(f"{one.job.id} {one.status.value}{asked}")
