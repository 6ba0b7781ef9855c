"""Messages to the person at the terminal: lines of standard error, and one line that is replaced.

Imports little: the first message comes before the imports of a command.
"""

from __future__ import annotations

import os
import sys
from typing import IO

from cli.output.terminal import Terminal, size
from domain.errors import OutputError
from domain.text import escaped

_CLEAR_LINE_END = "\x1b[K"
#: Where the line is that is removed before anything else is printed.
_busy: list[IO[str]] = []
_is_quiet = False


def say(text: str) -> None:
    """Print one line of visible characters, ``seen: …``, to standard error."""
    clear_busy()
    print(f"seen: {escaped(' '.join(text.split()))}", file=sys.stderr, flush=True)


def be_quiet() -> None:
    """Show no busy lines from now on."""
    global _is_quiet
    _is_quiet = True


def show_busy(text: str) -> bool:
    """Show on a terminal what the command does; the next output takes the line's place.

    Where there is no terminal, or it cannot move its cursor, nothing is shown. Return False if a line of
    text would help then.
    """
    for stream in () if _is_quiet else (sys.stderr, sys.stdout):
        terminal = Terminal.of(stream) if stream is not None else None
        if terminal is not None and terminal.is_live and is_in_foreground(stream):
            text = text if terminal.has_symbols else _in_ascii(text)
            shown = text[: size(stream)[0] - 1]
            _busy[:] = [stream] if _write(stream, f"\r{shown}{_CLEAR_LINE_END}") else []
            return True
    return _is_quiet


def _in_ascii(text: str) -> str:
    for symbol, replacement in (("…", "..."), ("━", "#"), ("─", ".")):
        text = text.replace(symbol, replacement)
    return text


def clear_busy() -> None:
    """Remove the line of `show_busy`."""
    for stream in _busy:
        _write(stream, f"\r{_CLEAR_LINE_END}")
    _busy.clear()


def _write(stream: IO[str], text: str) -> bool:
    try:
        stream.write(text)
        stream.flush()
    except (OSError, UnicodeError, OutputError):
        return False  # the terminal is gone: what follows reports that
    return True


def is_in_foreground(stream: IO[str]) -> bool:
    """Return whether the shell has given this command the terminal: then it may move the cursor."""
    try:
        return os.tcgetpgrp(stream.fileno()) == os.getpgrp()
    except (OSError, ValueError):
        return True  # no shell controls it
