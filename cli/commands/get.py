"""`seen get`: download here and now, whatever it takes to have a stack for it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

import settings as settings_module
from cli.arguments import download_request as requests
from cli.arguments import options
from cli.commands.get_timeout import ATTEMPTS, Patience
from cli.errors import FAILED, INTERRUPTED, StackError
from cli.local_stack import environment
from cli.local_stack import membership as local_stack
from cli.output import formatting as formats
from cli.output import resume_command as going_on
from cli.signals import terminate_as_interrupt
from domain.job import DownloadRequest, JobStatus
from domain.text import printable

if TYPE_CHECKING:
    from cli.commands.get_batch import Batch
    from cli.local_stack.membership import Membership
    from cli.output.progress import Display
    from tasks.api.job_view import JobView

_POLL = 0.2
#: After this long a download that no worker has taken is worth a word. Seconds.
_PATIENCE = 15.0
#: A worker pauses within a second; a store that is away makes it take longer. Seconds.
_PAUSE_PATIENCE = 10.0


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
            help=f"Attempts before it fails, 1 to 1000; else {ATTEMPTS}, within a minute.",
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
    at_home = not environment.has_store(settings)
    wanted = requests.build(
        urls,
        directory=requests.folder(output or ".") if at_home else output,
        name=name,
        sha256=sha256,
        checksum=checksum,
        overwrite=overwrite,
        max_attempts=attempts or ATTEMPTS,
        mirrors=mirror,
        headers=header,
        login=login,
        cookie=cookie,
        max_bytes=max_bytes,
        connections=connections,
        decode=decode,
        ignore_origin_digests=ignore_origin_digests,
    )
    terminate_as_interrupt()
    with _stack(at_home) as stack:
        patience = Patience(max_time=max_time, has_attempts=attempts is not None)
        status = _download(wanted, stack, patience, as_json=as_json)
    raise typer.Exit(status)


@contextmanager
def _stack(at_home: bool) -> Iterator[Membership | None]:
    if at_home:
        with local_stack.joined() as membership:
            yield membership
    else:
        yield None


def _download(
    wanted: list[DownloadRequest], stack: Membership | None, patience: Patience, *, as_json: bool
) -> int:
    from cli.commands.get_batch import Batch
    from cli.output import progress as displays
    from tasks.api.job_view import describe

    batch = Batch.begin(wanted, alone=stack is not None and stack.started)
    display = displays.Quiet() if as_json else displays.for_people()
    try:
        for text in batch.notes:
            display.note(text)
        interrupted, left = _follow(batch, display, stack, patience)
    finally:
        display.close()
    views = batch.read()
    again = {one.job.id: _how_to_go_on(one, stack) for one in views}
    if as_json:
        more = [{"left": left.get(i), "continue_with": again[i]} for i in (v.job.id for v in views)]
        formats.print_json([describe(one) | two for one, two in zip(views, more, strict=True)])
    for one in views:
        if one.status is not JobStatus.COMPLETED and not interrupted:
            why = left.get(one.job.id)
            told = displays.ending(one) if why is None else f"{one.label}: given up, as {why}"
            print(f"seen: {printable(told)}", file=sys.stderr)
    if interrupted:
        print("seen: interrupted. The same command continues where it stopped.", file=sys.stderr)
        return INTERRUPTED
    for line in dict.fromkeys(line for line in again.values() if line is not None):
        print(f"seen: to go on: {line}", file=sys.stderr)
    return 0 if all(one.status is JobStatus.COMPLETED for one in views) else FAILED


def _how_to_go_on(one: JobView, stack: Membership | None) -> str | None:
    return going_on.command(one.job, sys.argv[1:], at_home=stack is not None)


def _follow(
    batch: Batch, display: Display, stack: Membership | None, patience: Patience
) -> tuple[bool, dict[str, str]]:
    """Show the batch until all of it has come to rest, or is not waited for any more.

    Returns whether a person interrupted it, and by id why jobs were left.
    """
    from cli.commands.get_batch import at_rest

    try:
        worry = _worry(display, stack)
        left: dict[str, str] = {}
        left_at = 0.0
        while True:
            views = batch.read()
            display.show(views)
            waits_for = [one for one in views if one.job.id not in left]
            # Those that are left pause within a second, or go on for others.
            may_leave = time.monotonic() - left_at > _PAUSE_PATIENCE
            if at_rest(views) or (left and may_leave and at_rest(waits_for)):
                return False, left
            for job_id, why in patience.exhausted(waits_for).items():
                left[job_id], left_at = why, time.monotonic()
                batch.give_up(job_id)
            worry(views)
            time.sleep(_POLL)
    except KeyboardInterrupt:
        # See them pause; a second Ctrl-C leaves at once.
        batch.pause()
        end = time.monotonic() + _PAUSE_PATIENCE
        while not at_rest(views := batch.read()) and time.monotonic() < end:
            time.sleep(_POLL / 4)
        display.show(views)
        return True, {}


def _worry(display: Display, stack: Membership | None) -> Callable[[Sequence[JobView]], None]:
    """Return what looks, once a second, whether somebody is there to do the work."""
    began = checked = time.monotonic()
    told = False

    def look(views: Sequence[JobView]) -> None:
        nonlocal checked, told
        now = time.monotonic()
        if now - checked < 1.0:
            return
        checked = now
        if stack is not None and not stack.is_alive:
            raise StackError(
                "The local stack was stopped. The same command continues where it stopped."
            )
        untouched = all(one.status is JobStatus.QUEUED for one in views)
        if untouched and not told and now - began > _PATIENCE:
            told = True
            hint = f"The logs are in {stack.data_dir / 'logs'}." if stack else "Does one run?"
            display.note(f"No worker has taken anything yet. {hint} `seen doctor` tells more.")

    return look
