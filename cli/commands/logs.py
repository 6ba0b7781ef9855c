"""`seen logs`: what the processes of the local stack have logged."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated

import typer

from cli.errors import RefusedError
from cli.local_stack import environment
from cli.local_stack.log_reader import LogReader, log_names
from cli.output import formatting
from cli.signals import interrupt_on_termination
from domain.errors import InvalidInputError
from domain.text import escaped
from seen_local.late_settings import settings_module

_POLL = 0.3
#: Those of a local stack, whether or not they have logged yet.
_PROCESSES = ("api", "beat", "downloads", "flower", "maintenance", "store", "supervisor")


def logs(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME", help="The process, such as downloads, maintenance or beat; else all."
        ),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with new lines until Ctrl-C.")
    ] = False,
    lines: Annotated[
        int,
        typer.Option(
            "--lines", "-n", metavar="N", min=0, max=1_000_000, help="The last lines of each log."
        ),
    ] = 20,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object for each line.")
    ] = False,
) -> None:
    """Print the logs of the local stack, also of one that has stopped."""
    folder = _folder()
    names = log_names(folder)
    if name is not None and name not in {*names, *_PROCESSES}:
        known = ", ".join(names or _PROCESSES)
        raise InvalidInputError("NAME", name, f"There are logs of {known}.")
    readers = {one: LogReader(folder, one) for one in (names if name is None else [name])}
    show = _Printer(has_names=name is None, as_json=as_json).print
    for reader in readers.values():
        show(reader.name, reader.last_lines(lines))
    if follow:
        _follow(folder, readers, show, has_all=name is None)
    for reader in readers.values() if lines else ():
        show(reader.name, reader.unfinished_line())
    if not names and not as_json:
        print(f"There are no logs in {folder}. `seen up` and `seen get` write them.")


def _follow(
    folder: Path,
    readers: dict[str, LogReader],
    show: Callable[[str, Iterable[str]], None],
    *,
    has_all: bool,
) -> None:
    """Show new lines until a signal ends the command; with `has_all` also those of new logs."""
    interrupt_on_termination()
    while True:
        for one in log_names(folder) if has_all else ():
            readers.setdefault(one, LogReader(folder, one))
        for reader in readers.values():
            show(reader.name, reader.new_lines())
        time.sleep(_POLL)


def _folder() -> Path:
    settings = settings_module.load()
    if environment.has_store(settings):
        raise RefusedError(
            "A store is configured, so there is no local stack. Workers and beat print their logs: see "
            "what runs them, such as `docker compose logs` or `journalctl`."
        )
    return settings.data_dir / "logs"


class _Printer:
    """Prints lines of logs, each with the name of its process if there are several."""

    def __init__(self, *, has_names: bool, as_json: bool) -> None:
        self._has_names, self._as_json = has_names, as_json

    def print(self, name: str, lines: Iterable[str]) -> None:
        for line in lines:
            if self._as_json:
                print(formatting.as_json({"process": name, "line": line}), flush=True)
            else:
                # The store and programs that crash write what they like.
                prefix = f"{name:<12}| " if self._has_names else ""
                print(prefix + escaped(line), flush=True)
