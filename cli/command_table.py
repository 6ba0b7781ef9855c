"""The commands of `seen` in the order of its help page, and the application that has them.

A command that is called by its name is registered alone: the modules of the others are not loaded.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from cli.errors import EXIT_STATUSES
from cli.help.pages import SeenTyper
from seen_local.version import version

_DOWNLOAD, _JOBS, _SERVICE = "Download", "Jobs", "Service"


@dataclass(frozen=True, slots=True)
class _Command:
    """One command, or a group of commands."""

    name: str
    section: str
    place: str
    """``module:function`` below `cli.commands`, or ``module:app`` for a group."""
    examples: str = ""
    """The name of its examples in that module."""

    def register(self, app: SeenTyper) -> None:
        """Load its module, and add it to an application."""
        name, _, attribute = self.place.partition(":")
        module = importlib.import_module(f"cli.commands.{name}")
        found = getattr(module, attribute)
        if attribute == "app":
            app.add_typer(found, name=self.name, rich_help_panel=self.section)
        else:
            epilog = getattr(module, self.examples) if self.examples else None
            app.command(self.name, rich_help_panel=self.section, epilog=epilog)(found)


_COMMANDS = (
    _Command("get", _DOWNLOAD, "get:get", "EXAMPLES"),
    _Command("up", _DOWNLOAD, "up:up"),
    _Command("open", _DOWNLOAD, "accounts.open_page:open_page"),
    _Command("add", _JOBS, "jobs:add", "ADD_EXAMPLES"),
    _Command("list", _JOBS, "jobs:list_jobs", "LIST_EXAMPLES"),
    _Command("show", _JOBS, "jobs:show"),
    _Command("watch", _JOBS, "watch:watch"),
    _Command("pause", _JOBS, "control:pause"),
    _Command("resume", _JOBS, "control:resume"),
    _Command("cancel", _JOBS, "control:cancel"),
    _Command("retry", _JOBS, "control:retry"),
    _Command("move", _JOBS, "control:move"),
    _Command("rm", _JOBS, "remove:remove", "EXAMPLES"),
    _Command("limit", _SERVICE, "limit:limit"),
    _Command("user", _SERVICE, "accounts.user:app"),
    _Command("key", _SERVICE, "accounts.key:app"),
    _Command("webhook", _SERVICE, "accounts.webhook:app"),
    _Command("doctor", _SERVICE, "doctor:doctor"),
    _Command("logs", _SERVICE, "logs:logs"),
    _Command("worker", _SERVICE, "services:worker"),
    _Command("beat", _SERVICE, "services:beat"),
    _Command("flower", _SERVICE, "services:flower"),
    _Command("api", _SERVICE, "services:api"),
    _Command("cache", _SERVICE, "cache:app"),
    _Command("db", _SERVICE, "db:app"),
    _Command("dead-letters", _SERVICE, "dead_letters:app"),
    _Command("completion", _SERVICE, "completion:completion", "EXAMPLES"),
    _Command("help", _SERVICE, "help:help_page"),
)
#: Commands that show the others.
_NEED_ALL = frozenset({"completion", "help"})
_VERSION = ("--version", "-V")


def _print(is_given: bool) -> None:
    if is_given:
        print(f"seen {version()}")
        raise typer.Exit


def application(arguments: Sequence[str] | None = None) -> SeenTyper:
    """Return the application that runs these arguments; with all commands by default."""
    app = SeenTyper(name="seen", help="Download files reliably, on one machine or on many.")
    first = (*(arguments or ()), "")[0]
    called = [one for one in _COMMANDS if one.name == first and first not in _NEED_ALL]
    is_unknown = first[:1] not in {"", "-"} and first not in _NEED_ALL
    if called or is_unknown:  # without options: Typer would load Pydantic to read them
        app.callback(add_help_option=False)(_nothing)
    else:
        app.callback(epilog=EXIT_STATUSES)(_version_if_wanted)
    if first not in _VERSION:
        for command in called or _COMMANDS:
            command.register(app)
    return app


def _nothing() -> None:
    pass


def _version_if_wanted(
    _version: Annotated[
        bool,
        typer.Option(*_VERSION, is_eager=True, callback=_print, help="Print the version."),
    ] = False,
) -> None:
    pass
