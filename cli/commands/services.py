"""`seen worker`, `beat`, `flower` and `api`: replace this process by one of the service's programs."""

from __future__ import annotations

import os
from enum import StrEnum
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated

import typer

from cli.errors import RefusedError
from cli.local_stack import command_lines, environment
from cli.local_stack.client import use_running_stack
from cli.local_stack.download_folder import make_download_folder
from domain.errors import SettingsError
from seen_local import discovery
from worker.logs import setup

if TYPE_CHECKING:
    from settings import Settings


class QueueName(StrEnum):
    """The kinds of workers, by what they consume."""

    DOWNLOADS = command_lines.DOWNLOADS
    MAINTENANCE = command_lines.MAINTENANCE


def worker(
    queue: Annotated[QueueName, typer.Option(help="What it runs.")] = QueueName.DOWNLOADS,
    concurrency: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, max=1000, help="Jobs at once (SEEN_DOWNLOAD_CONCURRENCY)."
        ),
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Only check whether a worker on this machine answers (exit status 0 or 1).",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --check: print JSON.")] = False,
) -> None:
    """Run a worker in the foreground. On Ctrl-C or SIGTERM it requeues its downloads and exits."""
    if check:
        from cli.diagnostics import local_worker

        raise typer.Exit(local_worker.check(queue.value, as_json=as_json))
    if as_json:
        raise RefusedError("--json is allowed with --check only.")
    settings = environment.ensure_secret_key(_prepare(queue.value))
    if queue is QueueName.DOWNLOADS:
        make_download_folder(settings.files_dir)
    _exec(command_lines.worker(settings, queue.value, concurrency))


def beat(
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Only check whether a beat runs (exit status 0 or 1).",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --check: print JSON.")] = False,
) -> None:
    """Run beat, which sends the periodic tasks, in the foreground.

    One is enough. With several, the periodic tasks go on when one of them stops or hangs.
    """
    if check:
        from cli.diagnostics.beat import check_beat

        raise typer.Exit(check_beat(as_json=as_json))
    if as_json:
        raise RefusedError("--json is allowed with --check only.")
    _exec(command_lines.beat(_prepare("beat")))


def flower() -> None:
    """Run Flower, Celery's web interface, in the foreground."""
    settings = _prepare("flower")
    if not settings.flower_password.get_secret_value():
        raise SettingsError(
            "Flower needs a password, because it shows and controls all tasks. "
            "Set SEEN_FLOWER_PASSWORD."
        )
    _exec(command_lines.flower())


def api(
    address: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Listen there (SEEN_API_ADDRESS).")
    ] = None,
    port: Annotated[
        int | None, typer.Option(metavar="N", min=1, max=65_535, help="The port (SEEN_API_PORT).")
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, max=64, help="Processes that share the port (SEEN_API_PROCESSES)."
        ),
    ] = None,
) -> None:
    """Serve the HTTP API in the foreground. On Ctrl-C or SIGTERM it ends its requests and exits."""
    if find_spec("uvicorn") is None or find_spec("fastapi") is None:
        raise RefusedError("The HTTP API needs more packages: pip install 'seen-downloads[api]'.")
    given = {"api_address": address, "api_port": port, "api_processes": processes}
    environment.override({name: value for name, value in given.items() if value is not None})
    settings = environment.ensure_secret_key(_prepare("api"))
    from cli.context import ensure_schema
    from database import Database

    database = Database(settings.sqlalchemy_url())
    try:
        ensure_schema(settings, database)
    finally:
        database.close()
    _exec(command_lines.api())


def _prepare(role: str) -> Settings:
    setup.start(role)
    use_running_stack(any_directory=True)
    settings = environment.resolve_paths()
    environment.make_data_dir(settings)
    return settings


def _exec(command: list[str]) -> None:
    os.chdir(environment.ROOT)
    discovery.keep_over_exec()
    # exec keeps the pid, so that signals and monitors see one process.
    os.execv(command[0], command)  # noqa: S606 - no shell is wanted
