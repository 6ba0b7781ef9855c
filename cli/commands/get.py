"""`seen get`: download in the foreground, with the configured workers or with a local stack."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

import settings as settings_module
from cli.arguments.download_options import DownloadOptions, ShowUrls
from cli.arguments.get_options import GetOptions
from cli.arguments.option_group import expand_options
from cli.arguments.output_path import Output, local_output, remote_output
from cli.errors import FAILED, INTERRUPTED
from cli.local_stack import environment
from cli.local_stack.client import join_stack
from cli.output import formatting
from cli.output.messages import say
from cli.output.resume_command import resume_command
from cli.signals import interrupt_on_termination
from domain.errors import OutputError
from domain.job import JobStatus
from domain.request import DownloadRequest

if TYPE_CHECKING:
    from cli.following.follow import Followed
    from cli.following.timeout import GetTimeout
    from cli.local_stack.client import StackClient
    from cli.output.display import Display
    from tasks.api.job_view import JobView

EXAMPLES = """
Examples:
  seen get https://example.org/film.mkv
  seen get -o films/ https://example.org/1.mkv https://example.org/2.mkv
  seen get --sha256 HEX --mirror https://other.example/a.iso URL
"""


@expand_options
def get(
    options: DownloadOptions,
    how: GetOptions,
    urls: Annotated[list[str], typer.Argument(metavar="URL", help="What to download.")],
    show_urls: ShowUrls = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the jobs as JSON at the end, and no progress.")
    ] = False,
) -> None:
    """Download files. Nothing else needs to run or to be installed.

    Uses the configured workers (SEEN_CACHE_ADDR) or the running ones (seen up), else starts its own.

    After Ctrl-C the same command continues where it stopped.

    Without --attempts or --max-time, a download that gets no byte for a minute after a failed attempt is
    paused; the last line shows the command that continues it.
    """
    is_local = not environment.has_store(settings_module.load())
    target = _output(how.output, urls, options, is_local=is_local)
    requests = replace(options, name=target.name).requests(
        urls, directory=target.folder, max_attempts=how.max_attempts, priority=how.priority
    )
    interrupt_on_termination()
    with _stack(is_local) as stack:
        status = _download(requests, stack, how.timeout(), as_json=as_json, show_urls=show_urls)
        raise typer.Exit(status)


def _output(output: str, urls: list[str], options: DownloadOptions, *, is_local: bool) -> Output:
    count, name = len(urls), options.name
    if is_local:
        return local_output(output, urls=count, name=name, overwrite=options.overwrite)
    return remote_output(output, settings_module.load().files_dir, urls=count, name=name)


@contextmanager
def _stack(is_local: bool) -> Iterator[StackClient | None]:
    if is_local:
        with join_stack() as client:
            yield client
    else:
        yield None


def _download(
    requests: list[DownloadRequest],
    stack: StackClient | None,
    timeout: GetTimeout,
    *,
    as_json: bool,
    show_urls: bool,
) -> int:
    """Submit the requests, show their progress, print the results, and return the exit status."""
    from cli.following.batch import Batch
    from cli.following.follow import follow, pause_unseen
    from cli.output.display import for_terminal
    from cli.output.progress.program_output import NoProgress
    from cli.output.progress.summary import Summary

    batch = Batch.submit(requests, stack=stack, show_urls=show_urls)
    display = NoProgress() if as_json else for_terminal()
    summary = Summary(batch.new_ids)
    try:
        for text in batch.notes:
            display.note(text)
        followed = follow(batch, display, stack, timeout, summary)
        views = batch.read()
        if not followed.interrupted:
            _name_paused(display, views, followed)
        display.end(summary.text(views))
    except OutputError as error:
        raise pause_unseen(batch, error) from None
    finally:
        display.close()
    commands = {view.job.id: _resume_command(view, stack) for view in views}
    if as_json:
        _print_json(views, followed.given_up, commands)
    if followed.interrupted:
        say("interrupted. The same command continues where it stopped.")
        return INTERRUPTED
    for line in dict.fromkeys(line for line in commands.values() if line is not None):
        say(f"to continue: {line}")
    return 0 if all(view.status is JobStatus.COMPLETED for view in views) else FAILED


def _name_paused(display: Display, views: list[JobView], followed: Followed) -> None:
    """Name the jobs that another command has paused; the display has named those that failed."""
    from cli.output.job_text import result_line

    for view in views:
        if not view.is_finished and view.job.id not in followed.given_up:
            display.fail(result_line(view))


def _resume_command(view: JobView, stack: StackClient | None) -> str | None:
    return resume_command(view.job, sys.argv[1:], is_local=stack is not None)


def _print_json(
    views: list[JobView], given_up: dict[str, str], commands: dict[str, str | None]
) -> None:
    from tasks.api.job_json import job_as_json

    formatting.print_json(
        [
            {
                **job_as_json(view),
                "left": given_up.get(view.job.id),
                "continue_with": commands[view.job.id],
            }
            for view in views
        ]
    )
