"""`seen worker`, `beat` and `flower`: become one of Celery's programs, with the right flags."""

from __future__ import annotations

import os
from enum import StrEnum
from typing import Annotated

import typer

from cli.errors import RefusedError
from cli.local_stack import command_lines, environment
from cli.local_stack.client import use_running_stack
from domain.errors import SettingsError
from settings import Settings


class QueueName(StrEnum):
    """The queues there are."""

    DOWNLOADS = command_lines.DOWNLOADS
    MAINTENANCE = command_lines.MAINTENANCE


def worker(
    queue: Annotated[QueueName, typer.Option(help="The queue it serves.")] = QueueName.DOWNLOADS,
    concurrency: Annotated[
        int | None,
        typer.Option(min=1, max=1000, help="Jobs at once (SEEN_DOWNLOAD_CONCURRENCY)."),
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Run nothing: say whether a worker of this machine answers (exit status 0 or 1).",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --check: print JSON.")] = False,
) -> None:
    """Run a worker in the foreground; Ctrl-C or SIGTERM hands its downloads back and ends it."""
    if check:
        from cli.diagnostics import local_worker

        raise typer.Exit(local_worker.check(queue.value, as_json=as_json))
    if as_json:
        raise RefusedError("--json goes with --check: a running worker prints its log.")
    settings = environment.ensure_secret_key(_prepare())
    _become(command_lines.worker(settings, queue.value, concurrency))


def beat(
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Run nothing: say whether a beat has ticked lately (exit status 0 or 1).",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --check: print JSON.")] = False,
) -> None:
    """Run beat, which wakes, repairs and tidies up, in the foreground.

    One is enough. Several share the work, so that periodic tasks go on when one of them stops or hangs.
    """
    if check:
        from cli.diagnostics.beat import check_beat

        raise typer.Exit(check_beat(as_json=as_json))
    if as_json:
        raise RefusedError("--json goes with --check: a running beat prints its log.")
    _become(command_lines.beat(_prepare()))


def flower() -> None:
    """Run Flower, Celery's web page, in the foreground."""
    settings = _prepare()
    if not settings.flower_password.get_secret_value():
        raise SettingsError(
            "Flower shows and may control everything, so it does not start without a password. "
            "Set SEEN_FLOWER_PASSWORD."
        )
    _become(command_lines.flower())


def _prepare() -> Settings:
    use_running_stack()
    settings = environment.resolve_paths()
    environment.make_data_dir(settings)
    return settings


def _become(command: list[str]) -> None:
    os.chdir(environment.ROOT)
    # The same pid: whoever sends signals, or watches, sees one plain process.
    os.execv(command[0], command)  # noqa: S606 - without a shell is how it should be
