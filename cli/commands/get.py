"""`seen get`: download in the foreground, with the configured workers or with a local stack."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from cli.arguments.download_options import DownloadOptions, ShowUrls
from cli.arguments.get_options import GetOptions
from cli.arguments.input_options import InputOptions, Urls, Wanted
from cli.arguments.option_group import expand_options
from cli.arguments.output_path import Output, local_output, remote_output
from cli.arguments.request_list import RequestList
from cli.errors import FAILED, INTERRUPTED, USAGE_ERROR, BadLine
from cli.local_stack import environment
from cli.local_stack.client import join_stack
from cli.output import formatting
from cli.output.messages import be_quiet, say
from cli.output.resume_command import (
    Continuation,
    how_to_continue,
    same_command,
    unfinished,
)
from cli.signals import interrupt_on_termination
from domain.errors import OutputError
from domain.job import JobStatus
from seen_local.late_settings import settings_module

if TYPE_CHECKING:
    from cli.following.batch import Batch
    from cli.following.follow import Followed
    from cli.local_stack.client import StackClient
    from cli.output.display import Display
    from tasks.api.job_view import JobView

EXAMPLES = """
Examples:
  seen get https://example.org/film.mkv
  seen get -o films/ https://example.org/1.mkv https://example.org/2.mkv
  seen get --sha256 HEX --mirror https://other.example/a.iso URL
  seen get -i urls.txt -o segments/
  seen get -j 3 --limit-rate 2M -q URL URL URL URL
"""


#: Commands that continue single downloads and are printed.
_MOST_COMMANDS = 10


@expand_options
def get(
    options: DownloadOptions,
    how: GetOptions,
    source: InputOptions,
    urls: Urls = None,
    show_urls: ShowUrls = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the jobs as JSON at the end, and no progress.")
    ] = False,
) -> None:
    """Download files. Nothing else needs to run or to be installed.

    Uses the configured workers (SEEN_CACHE_ADDR) or the running ones (seen up), else starts its own.

    Ctrl-C pauses the downloads. The same command continues them; if some were finished, the last line
    shows the command for the others.

    Without --attempts or --max-time, a download that gets no byte for a minute after a failed attempt is
    paused; the last line shows the command that continues it.
    """
    interrupt_on_termination()
    is_local = not environment.has_store(settings_module.load())
    if how.quiet:
        be_quiet()
    wanted = source.read("get", urls or [], options)
    target = _output(how.output, len(wanted.entries), options, is_local=is_local)
    requests = replace(options, name=target.name).requests(
        wanted.entries,
        directory=target.folder,
        max_attempts=how.max_attempts,
        priority=how.priority,
    )
    with _stack(how.jobs, is_local=is_local) as stack:
        status = _download(requests, wanted, stack, how, as_json=as_json, show_urls=show_urls)
    raise typer.Exit(status or (USAGE_ERROR if wanted.bad else 0))


def _output(output: str, count: int, options: DownloadOptions, *, is_local: bool) -> Output:
    name = options.name
    if is_local:
        return local_output(output, urls=count, name=name, overwrite=options.overwrite)
    return remote_output(output, settings_module.load().files_dir, urls=count, name=name)


@contextmanager
def _stack(jobs: int | None, *, is_local: bool) -> Iterator[StackClient | None]:
    if not is_local:
        yield None
        return
    if jobs is not None and jobs > settings_module.load().download_concurrency:
        environment.override({"download_concurrency": jobs})  # of a stack that this command starts
    with join_stack() as client:
        yield client


def _download(
    requests: RequestList,
    wanted: Wanted,
    stack: StackClient | None,
    how: GetOptions,
    *,
    as_json: bool,
    show_urls: bool,
) -> int:
    """Submit the requests, show their progress, print the results, and return the exit status."""
    from cli.following.batch import Batch
    from cli.following.follow import follow, pause_unseen
    from cli.output.progress.summary import Summary

    batch = Batch.of(
        requests, typed=wanted.typed, at_once=how.jobs, stack=stack, show_urls=show_urls
    )
    batch.check_folders(requests.directories)
    display = _display(is_quiet=how.quiet, as_json=as_json)
    summary = Summary(batch.stored)
    try:
        followed = follow(batch, display, stack, how.timeout(), summary)
        if not followed.interrupted:
            _name_paused(display, batch.views, followed)
        display.end(summary.text(batch.totals))
    except OutputError as error:
        raise pause_unseen(batch, error) from None
    finally:
        display.close()
    continuation = Continuation(unfinished(sys.argv[1:], batch.typed()), is_local=stack is not None)
    if as_json:
        _print_json(batch, wanted.bad, followed.given_up, continuation)
    if followed.interrupted:
        _say_interrupted(batch)
        return INTERRUPTED
    _say_how_to_continue(batch, continuation)
    return 0 if batch.totals.counts[JobStatus.COMPLETED] == batch.totals.number else FAILED


def _say_interrupted(batch: Batch) -> None:
    left = batch.left
    if left:
        whose = "belongs to another command and goes" if left == 1 else "belong to others and go"
        say(f"{left:,} of the downloads {whose} on.")
    say(f"interrupted. {how_to_continue(batch.typed())}{_about_the_list(batch)}")


def _about_the_list(batch: Batch) -> str:
    """Say what of the list is complete: the same command reads all of it again."""
    typed = sum(view.status is JobStatus.COMPLETED for view in batch.typed())
    listed = batch.totals.counts[JobStatus.COMPLETED] - typed
    if not listed:
        return ""
    files = formatting.count(listed, "file")
    return f" {files} of the list arrived whole and would be downloaded again: remove those lines first."


def _say_how_to_continue(batch: Batch, continuation: Continuation) -> None:
    unsubmitted = batch.unsubmitted
    if unsubmitted:
        command = same_command(continuation.arguments)
        say(f"{unsubmitted:,} more were not started. To start them: {command}")
    views = [*batch.failed, *(view for view in batch.views if not view.is_finished)]
    commands = dict.fromkeys(filter(None, (continuation.command(view.job) for view in views)))
    for line in islice(commands, _MOST_COMMANDS):
        say(f"to continue: {line}")
    if len(commands) > _MOST_COMMANDS:
        say("more downloads can be continued: `seen list --status failed` and `seen retry --help`.")


def _display(*, is_quiet: bool, as_json: bool) -> Display:
    from cli.output.display import for_terminal
    from cli.output.progress.program_output import NoProgress, Quiet

    if is_quiet:
        return Quiet()
    return NoProgress() if as_json else for_terminal()


def _name_paused(display: Display, views: Sequence[JobView], followed: Followed) -> None:
    """Name the jobs that another command has paused; the display has named those that failed."""
    from cli.output.job_text import result_line

    for view in views:
        if not view.is_finished and view.job.id not in followed.given_up:
            display.fail(result_line(view))


def _print_json(
    batch: Batch, bad: Sequence[BadLine], given_up: dict[str, str], continuation: Continuation
) -> None:
    from cli.output.json_list import JsonList
    from tasks.api.job_json import job_as_json

    printed = JsonList()
    printed.add(one.as_dict() for one in bad)
    printed.add(
        {
            **job_as_json(view),
            "left": given_up.get(view.job.id),
            "continue_with": continuation.command(view.job),
        }
        for view in batch.all()
    )
    printed.end()
