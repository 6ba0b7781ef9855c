"""`seen get`: download here and now, whatever it takes to have a stack for it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

import settings as settings_module
from cli.arguments import download_request, options
from cli.commands.get_timeout import DEFAULT_ATTEMPTS, GetTimeout
from cli.errors import FAILED, INTERRUPTED, StackError
from cli.local_stack import environment
from cli.local_stack.client import join_stack
from cli.output import formatting
from cli.output.resume_command import resume_command
from cli.signals import interrupt_on_termination
from domain.job import DownloadRequest, JobStatus
from domain.text import printable

if TYPE_CHECKING:
    from cli.commands.get_batch import Batch
    from cli.local_stack.client import StackClient
    from cli.output.display import Display
    from tasks.api.job_view import JobView

_POLL = 0.2
#: After this long a download that no worker has taken is worth a word. Seconds.
_START_WARNING_AFTER = 15.0
#: A worker pauses within a second; a store that is away makes it take longer. Seconds.
_PAUSE_TIMEOUT = 10.0


def get(
    urls: Annotated[list[str], typer.Argument(metavar="URL...", help="What to download.")],
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="The folder for the files; by default the current one.",
        ),
    ] = "",
    name: Annotated[str | None, typer.Option(help="The file's name (one URL only).")] = None,
    sha256: Annotated[
        str | None, typer.Option(metavar="HEX", help="The SHA-256 the file must have.")
    ] = None,
    checksum: Annotated[
        str | None,
        typer.Option(metavar="ALG:HEX", help=options.CHECKSUM_HELP),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a file of that name.")
    ] = False,
    mirror: options.Mirrors = None,
    header: options.Headers = None,
    login: options.LoginAsUser = None,
    cookie: options.Cookie = None,
    max_bytes: options.MaxBytes = None,
    connections: options.Connections = None,
    decode: options.Decode = False,
    ignore_origin_digests: options.IgnoreOriginDigests = False,
    attempts: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help=f"Attempts before it fails, 1 to 1000; else {DEFAULT_ATTEMPTS}, within a minute.",
        ),
    ] = None,
    max_time: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=0.1, help="Stop after this long, whatever is there."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the finished jobs as JSON, and no progress.")
    ] = False,
) -> None:
    """Download files, with nothing else running or installed.

    Workers that are configured (SEEN_CACHE_ADDR) or run already (seen up) do it; else they are started
    for the time it takes. Interrupted by Ctrl-C, the same command continues where it stopped. An origin
    that does not answer is given up after a minute; the last line says how to go on.
    """
    settings = settings_module.load()
    is_local = not environment.has_store(settings)
    wanted = download_request.build(
        urls,
        directory=download_request.folder(output or ".") if is_local else output,
        name=name,
        sha256=sha256,
        checksum=checksum,
        overwrite=overwrite,
        max_attempts=attempts or DEFAULT_ATTEMPTS,
        mirrors=mirror,
        headers=header,
        login=login,
        cookie=cookie,
        max_bytes=max_bytes,
        connections=connections,
        decode=decode,
        ignore_origin_digests=ignore_origin_digests,
    )
    interrupt_on_termination()
    with _stack(is_local) as stack:
        timeout = GetTimeout(max_time=max_time, has_attempts=attempts is not None)
        status = _download(wanted, stack, timeout, as_json=as_json)
    raise typer.Exit(status)


@contextmanager
def _stack(is_local: bool) -> Iterator[StackClient | None]:
    if is_local:
        with join_stack() as membership:
            yield membership
    else:
        yield None


def _download(
    wanted: list[DownloadRequest], stack: StackClient | None, timeout: GetTimeout, *, as_json: bool
) -> int:
    from cli.commands.get_batch import Batch
    from cli.output.display import NoProgress, for_terminal, result_line
    from tasks.api.job_view import job_as_json

    batch = Batch.submit(wanted, alone=stack is not None and stack.started)
    display = NoProgress() if as_json else for_terminal()
    try:
        for text in batch.notes:
            display.note(text)
        interrupted, left = _follow(batch, display, stack, timeout)
    finally:
        display.close()
    views = batch.read()
    again = {one.job.id: _resume_command(one, stack) for one in views}
    if as_json:
        more = [{"left": left.get(i), "continue_with": again[i]} for i in (v.job.id for v in views)]
        formatting.print_json(
            [job_as_json(one) | two for one, two in zip(views, more, strict=True)]
        )
    for one in views:
        if one.status is not JobStatus.COMPLETED and not interrupted:
            why = left.get(one.job.id)
            text = result_line(one) if why is None else f"{one.label}: given up, as {why}"
            print(f"seen: {printable(text)}", file=sys.stderr)
    if interrupted:
        print("seen: interrupted. The same command continues where it stopped.", file=sys.stderr)
        return INTERRUPTED
    for line in dict.fromkeys(line for line in again.values() if line is not None):
        print(f"seen: to go on: {line}", file=sys.stderr)
    return 0 if all(one.status is JobStatus.COMPLETED for one in views) else FAILED


def _resume_command(one: JobView, stack: StackClient | None) -> str | None:
    return resume_command(one.job, sys.argv[1:], is_local=stack is not None)


def _follow(
    batch: Batch, display: Display, stack: StackClient | None, timeout: GetTimeout
) -> tuple[bool, dict[str, str]]:
    """Show the batch until all of it has come to rest, or is not waited for any more.

    Returns whether a person interrupted it, and by id why jobs were left.
    """
    from cli.commands.get_batch import all_idle

    try:
        warn_if_not_started = _warn_if_not_started(display, stack)
        left: dict[str, str] = {}
        left_at = 0.0
        while True:
            views = batch.read()
            display.show(views)
            waits_for = [one for one in views if one.job.id not in left]
            # Those that are left pause within a second, or go on for others.
            may_leave = time.monotonic() - left_at > _PAUSE_TIMEOUT
            if all_idle(views) or (left and may_leave and all_idle(waits_for)):
                return False, left
            for job_id, why in timeout.exceeded(waits_for).items():
                left[job_id], left_at = why, time.monotonic()
                batch.give_up(job_id)
            warn_if_not_started(views)
            time.sleep(_POLL)
    except KeyboardInterrupt:
        # See them pause; a second Ctrl-C leaves at once.
        batch.pause()
        end = time.monotonic() + _PAUSE_TIMEOUT
        while not all_idle(views := batch.read()) and time.monotonic() < end:
            time.sleep(_POLL / 4)
        display.show(views)
        return True, {}


def _warn_if_not_started(
    display: Display, stack: StackClient | None
) -> Callable[[Sequence[JobView]], None]:
    """Return a check, run at most once a second, that says when no worker has started a job."""
    began = checked = time.monotonic()
    warned = False

    def look(views: Sequence[JobView]) -> None:
        nonlocal checked, warned
        now = time.monotonic()
        if now - checked < 1.0:
            return
        checked = now
        if stack is not None and not stack.is_alive:
            raise StackError(
                "The local stack was stopped. The same command continues where it stopped."
            )
        untouched = all(one.status is JobStatus.QUEUED for one in views)
        if untouched and not warned and now - began > _START_WARNING_AFTER:
            warned = True
            hint = f"The logs are in {stack.data_dir / 'logs'}." if stack else "Does one run?"
            display.note(f"No worker has taken anything yet. {hint} `seen doctor` tells more.")

    return look
