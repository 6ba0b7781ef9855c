"""What the terminal of a command can show, and whether it is one.

Reads the variables that terminals and users of many programs agree on: TERM, NO_COLOR, FORCE_COLOR,
CLICOLOR, CLICOLOR_FORCE, COLUMNS, LINES and the locale.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO

#: The size where the terminal does not know its own.
_COLUMNS, _ROWS = 80, 24
#: Terminals that cannot move the cursor.
_DUMB = frozenset({"", "dumb", "unknown"})


@dataclass(frozen=True, slots=True)
class Terminal:
    """What an output stream can show."""

    is_live: bool
    """Whether lines can be written over: it is a terminal, and can move its cursor."""
    has_colour: bool
    has_symbols: bool = True
    """Whether it shows lines and arrows, or ASCII only."""

    @classmethod
    def of(cls, stream: IO[str], environment: Mapping[str, str] = os.environ) -> Terminal:
        """Return what `stream` can show."""
        is_live = is_terminal(stream) and environment.get("TERM", "") not in _DUMB
        return cls(is_live, _has_colour(environment, is_live), _has_symbols(environment))


def size(stream: IO[str]) -> tuple[int, int]:
    """Return the columns and rows of a terminal as they are now."""
    try:
        columns, rows = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        columns, rows = 0, 0
    return columns or _number("COLUMNS", _COLUMNS), rows or _number("LINES", _ROWS)


def _has_colour(environment: Mapping[str, str], is_live: bool) -> bool:
    """NO_COLOR decides first, then the variables that force colour, then CLICOLOR and the terminal."""
    if environment.get("NO_COLOR"):
        return False
    if any(
        environment.get(name, "0") not in {"", "0"} for name in ("FORCE_COLOR", "CLICOLOR_FORCE")
    ):
        return True
    return is_live and environment.get("CLICOLOR") != "0" and environment.get("FORCE_COLOR") != "0"


def _has_symbols(environment: Mapping[str, str]) -> bool:
    """Return False for the Linux console, whose font lacks them, and for locales other than UTF-8."""
    if environment.get("TERM") == "linux":
        return False
    names = (environment.get(name) for name in ("LC_ALL", "LC_CTYPE", "LANG"))
    locale = next((name for name in names if name), "")
    charset = locale.partition("@")[0].partition(".")[2].lower().replace("-", "")
    return charset in {"", "utf8"}


def is_terminal(stream: IO[str]) -> bool:
    """Return whether a stream is a terminal; a closed one is none."""
    try:
        return stream.isatty()
    except ValueError:  # it is closed
        return False


def _number(variable: str, otherwise: int) -> int:
    text = os.environ.get(variable, "")
    return int(text) if text.isascii() and text.isdigit() and int(text) else otherwise
