"""All commands of `seen`, taken from the program itself, each with arguments with which it works."""

from __future__ import annotations

from collections.abc import Iterator
from types import MappingProxyType

import typer

from cli.main import app
from database.migrate import HEAD

URL = "http://127.0.0.1:9/file.bin"
#: Arguments by command. {COMMAND} is the id of a job in a state in which that command works, {key} the
#: prefix of a key of the user ada, {folder} the current folder.
ARGUMENTS = MappingProxyType(
    {
        "get": [URL],
        "up": [],
        "add": [URL],
        "list": [],
        "show": ["{show}"],
        "watch": ["{watch}"],
        "pause": ["{pause}"],
        "resume": ["{resume}"],
        "cancel": ["{cancel}"],
        "retry": ["{retry}"],
        "move": ["{move}", "--to", "high"],
        "rm": ["{rm}"],
        "limit": ["--total", "1M"],
        "doctor": [],
        "logs": [],
        "help": ["cache", "stats"],
        "worker": [],
        "beat": [],
        "flower": [],
        "api": [],
        "open": ["--print"],
        "completion": ["bash"],
        "cache stats": [],
        "cache forget-user": ["ada"],
        "cache forget-title": ["t-1"],
        "cache forget-keys": ["seen:catalog:*"],
        "db upgrade": [],
        "db backup": ["{folder}/backup.db"],
        "db current": [],
        "db downgrade": [HEAD],
        "db restore": ["{folder}/backup.db"],
        "db purge": [],
        "dead-letters list": [],
        "dead-letters clear": [],
        "user add": ["new"],
        "user list": [],
        "user role": ["ada", "viewer"],
        "user link": ["ada"],
        "user disable": ["bob"],
        "user enable": ["bob"],
        "key add": ["ada"],
        "key list": [],
        "key revoke": ["{key}"],
        "webhook set": ["https://example.org/hook"],
        "webhook show": [],
        "webhook clear": [],
        "webhook secret": [],
        "webhook deliveries": [],
        "webhook redeliver": ["1"],
    }
)
#: Commands that open, print and fail as others of their group do, and so are in no environment's calls.
_ALIKE = frozenset(
    {
        *(
            "open",
            "user role",
            "user link",
            "user disable",
            "user enable",
            "key list",
            "key revoke",
        ),
        *("webhook set", "webhook show", "webhook clear", "webhook secret", "webhook redeliver"),
    }
)
#: Commands that take the id of a job, and the command that brings a queued job into the right state.
JOBS = MappingProxyType(
    {
        "show": None,
        "watch": "cancel",
        "pause": None,
        "resume": "pause",
        "cancel": None,
        "retry": "cancel",
        "move": None,
        "rm": "cancel",
    }
)
#: Further calls of the same commands.
FURTHER = (
    ["--help"],
    ["list", "--help"],
    ["list", "--json"],
    ["add", f"{URL}?n=2", "--json"],
    ["watch"],
)
#: Calls that fail in every environment, with their exit status.
FAILING = (
    (["show", "unknown", "--json"], 2),
    (["list", "--no-such-option"], 2),
    (["worker", "--check"], 1),
    (["beat", "--check", "--json"], 1),
)


def names() -> list[str]:
    """Return the names of all commands, as they are typed."""
    return sorted(_names(app))


def calls() -> list[list[str]]:
    """Return calls that work, one of each command that differs and some more."""
    return [
        *([*name.split(), *ARGUMENTS[name]] for name in sorted(ARGUMENTS) if name not in _ALIKE),
        *FURTHER,
    ]


def _names(group: typer.Typer, prefix: str = "") -> Iterator[str]:
    for command in group.registered_commands:
        assert command.callback is not None
        yield prefix + (command.name or command.callback.__name__.replace("_", "-"))
    for one in group.registered_groups:
        assert isinstance(one.name, str)
        assert one.typer_instance is not None
        yield from _names(one.typer_instance, f"{prefix}{one.name} ")
