"""`seen get`: download in the foreground, with the configured workers or with a local stack."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

import settings as settings_module
from cli.arguments.download_options import DownloadOptions, output_folder
from cli.arguments.option_group import expand_options
from cli.commands.get_timeout import DEFAULT_ATTEMPTS, GetTimeout
from cli.errors import FAILED, INTERRUPTED, StackError
from cli.local_stack import environment
from cli.local_stack.client import join_stack
from cli.output import formatting
from cli.output.resume_command import resume_command
from cli.signals import interrupt_on_termination
from domain.job import JobStatus
from domain.request import DownloadRequest
from domain.text import printable

if TYPE_CHECKING:
    from cli.commands.get_batch import Batch
    from cli.local_stack.client import StackClient
    from cli.output.display import Display
    from tasks.api.job_view import JobView

EXAMPLES = """
Examples:
  seen get https://example.org/film.mkv
  seen get -o films https://example.org/1.mkv https://example.org/2.mkv
  seen get --sha256 HEX --mirror https://other.example/a.iso URL
"""

_POLL = 0.2
#: After this long in the queue without a worker, a hint is printed. Seconds.
_START_WARNING_AFTER = 15.0
#: How long to wait for jobs to pause: a worker needs a second, longer while the store is unavailable.
_PAUSE_TIMEOUT = 10.0


@expand_options
def get(
    options: DownloadOptions,
    urls: Annotated[list[str], typer.Argument(metavar="URL", help="What to download.")],
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="DIR", help="The folder; else the current one.")
    ] = "",
    attempts: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help=f"Attempts, 1 to 1000. Default: {DEFAULT_ATTEMPTS}, and a pause after a minute "
            "without bytes.",
        ),
    ] = None,
    max_time: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=0.1, help="Stop after this time, finished or not."),
    ] = None,
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
    directory = output_folder(output or ".") if is_local else output
    requests = options.requests(
        urls, directory=directory, max_attempts=attempts or DEFAULT_ATTEMPTS
    )
    interrupt_on_termination()
    with _stack(is_local) as stack:
        timeout = GetTimeout(max_time=max_time, has_attempts=attempts is not None)
        raise typer.Exit(_download(requests, stack, timeout, as_json=as_json))


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
) -> int:
    """Submit the requests, show their progress, print the results, and return the exit status."""
    from cli.commands.get_batch import Batch
    from cli.output.display import NoProgress, for_terminal

    batch = Batch.submit(requests, is_only_client=stack is not None and stack.started)
    display = NoProgress() if as_json else for_terminal()
    try:
        for text in batch.notes:
            display.note(text)
        interrupted, given_up = _follow(batch, display, stack, timeout)
    finally:
        display.close()
    views = batch.read()
    commands = {view.job.id: _resume_command(view, stack) for view in views}
    if as_json:
        _print_json(views, given_up, commands)
    if interrupted:
        print("seen: interrupted. The same command continues where it stopped.", file=sys.stderr)
        return INTERRUPTED
    _print_unfinished(views, given_up)
    for line in dict.fromkeys(line for line in commands.values() if line is not None):
        print(f"seen: to continue: {line}", file=sys.stderr)
    return 0 if all(view.status is JobStatus.COMPLETED for view in views) else FAILED


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


def _print_unfinished(views: list[JobView], given_up: dict[str, str]) -> None:
    from cli.output.display import result_line

    for view in views:
        if view.status is not JobStatus.COMPLETED:
            why = given_up.get(view.job.id)
            text = result_line(view) if why is None else f"{view.label}: given up: {why}"
            print(f"seen: {printable(text)}", file=sys.stderr)


def _follow(
    batch: Batch, display: Display, stack: StackClient | None, timeout: GetTimeout
) -> tuple[bool, dict[str, str]]:
    """Show the jobs until each is finished, paused, or given up.

    Returns whether Ctrl-C ended it, and for the ids of jobs that were given up the reason.
    """
    start_check = _StartCheck(display, stack)
    given_up: dict[str, str] = {}
    given_up_at = 0.0
    try:
        while True:
            views = batch.read()
            display.show(views)
            # A job that was given up is paused soon, or keeps running for another command.
            followed = [view for view in views if view.job.id not in given_up]
            is_pause_over = time.monotonic() - given_up_at > _PAUSE_TIMEOUT
            if _all_idle(views) or (given_up and is_pause_over and _all_idle(followed)):
                return False, given_up
            for job_id, why in timeout.exceeded(followed).items():
                given_up[job_id], given_up_at = why, time.monotonic()
                batch.give_up(job_id)
            start_check.run(views)
            time.sleep(_POLL)
    except KeyboardInterrupt:
        _pause(batch, display)
        return True, {}


def _pause(batch: Batch, display: Display) -> None:
    """Pause the jobs and wait until they are; a second Ctrl-C leaves at once."""
    batch.pause()
    end = time.monotonic() + _PAUSE_TIMEOUT
    while not _all_idle(views := batch.read()) and time.monotonic() < end:
        time.sleep(_POLL / 4)
    display.show(views)


def _all_idle(views: list[JobView]) -> bool:
    return all(view.is_idle for view in views)


class _StartCheck:
    """Notices a stack that has ended, and jobs that no worker starts."""

    def __init__(self, display: Display, stack: StackClient | None) -> None:
        self._display = display
        self._stack = stack
        self._started_at = self._checked_at = time.monotonic()
        self._is_warned = False

    def run(self, views: list[JobView]) -> None:
        """Check at most once a second.

        Raises:
            StackError: the local stack has ended.
        """
        now = time.monotonic()
        if now - self._checked_at < 1.0:
            return
        self._checked_at = now
        if self._stack is not None and not self._stack.is_alive:
            raise StackError(
                "The local stack was stopped. The same command continues where it stopped."
            )
        if now - self._started_at > _START_WARNING_AFTER:
            self._warn_if_not_started(views)

    def _warn_if_not_started(self, views: list[JobView]) -> None:
        if self._is_warned or any(view.status is not JobStatus.QUEUED for view in views):
            return
        self._is_warned = True
        stack = self._stack
        hint = f"The logs are in {stack.data_dir / 'logs'}." if stack else "Is a worker running?"
        self._display.note(f"No worker has started a download yet. {hint} Run `seen doctor`.")
