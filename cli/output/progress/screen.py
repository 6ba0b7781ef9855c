"""Lines at the end of a terminal that are written over, and lines above them that stay.

The cursor rests hidden at the beginning of the first line that is written over. Terminals keep it beside its
text when their size changes, so the lines need not be counted in rows of an earlier width.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import IO

from cli.output.styled import Line, as_ansi

_HIDE_CURSOR, _SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"
#: A name that a terminal counts in more cells than Python does stays on its line.
_NO_WRAP, _WRAP = "\x1b[?7l", "\x1b[?7h"
_CLEAR_LINE_END, _CLEAR_BELOW = "\x1b[K", "\x1b[J"


class Screen:
    """Writes to a terminal; each change is one write, so that nothing flickers.

    Args:
        stream: the terminal.
        colour: write styles.
    """

    def __init__(self, stream: IO[str], *, colour: bool) -> None:
        self._stream = stream
        self._colour = colour
        self._is_cursor_hidden = False
        self._is_lost = False
        self._drawn: list[str] = []

    def draw(self, lines: Sequence[Line]) -> None:
        """Replace the lines at the end of the screen."""
        texts = [as_ansi(one, colour=self._colour) for one in lines]
        if self._is_cursor_hidden and texts == self._drawn:
            return
        self._write(self._hidden_cursor() + self._frame(texts))

    def print_above(self, lines: Sequence[str]) -> None:
        """Print lines that stay, above those at the end of the screen."""
        permanent = "".join(f"{one}\r\n" for one in lines)
        if self._is_cursor_hidden:
            self._write(f"\r{_CLEAR_BELOW}{permanent}{self._frame(self._drawn)}")
        else:
            self._write(f"\r{permanent}")

    def clear(self) -> None:
        """Remove the lines at the end of the screen and show the cursor."""
        if self._is_cursor_hidden:
            self._is_cursor_hidden, self._drawn = False, []
            self._write(f"\r{_CLEAR_BELOW}{_WRAP}{_SHOW_CURSOR}")

    @property
    def is_in_foreground(self) -> bool:
        """Whether this command may draw: a shell has given it the terminal, and it still exists."""
        if self._is_lost:
            return False
        try:
            return os.tcgetpgrp(self._stream.fileno()) == os.getpgrp()
        except (OSError, ValueError):
            return True  # no shell controls it

    def _hidden_cursor(self) -> str:
        shown, self._is_cursor_hidden = not self._is_cursor_hidden, True
        return _HIDE_CURSOR if shown else ""

    def _frame(self, texts: list[str]) -> str:
        self._drawn = texts
        body = "\r\n".join(f"{one}{_CLEAR_LINE_END}" for one in texts)
        up = f"\x1b[{len(texts) - 1}A" if len(texts) > 1 else ""
        return f"\r{_NO_WRAP}{body}{_CLEAR_BELOW}{_WRAP}{up}\r"

    def _write(self, text: str) -> None:
        """Write all at once; a terminal that is gone must not stop the command."""
        if self._is_lost:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:
            self._is_lost = True
