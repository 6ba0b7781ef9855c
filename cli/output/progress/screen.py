"""Lines at the end of a terminal that are written over, and lines above them that stay.

The cursor rests hidden at the beginning of the first line that is written over. Terminals keep it beside
its text when their size changes, so the lines need not be counted in rows of an earlier width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import IO

from cli.output.messages import is_in_foreground
from cli.output.styled import Line, as_ansi
from domain.errors import OutputError

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
        self._is_writing = False
        self._deferred: Callable[[], None] | None = None

    def update(self, above: Sequence[Line], lines: Sequence[Line]) -> None:
        """Print lines that stay, and replace those at the end of the screen."""
        permanent = "".join(f"{as_ansi(one, colour=self._colour)}\r\n" for one in above)
        texts = [as_ansi(one, colour=self._colour) for one in lines]
        if permanent and self._is_cursor_hidden:
            permanent = f"\r{_CLEAR_BELOW}{permanent}"
        if not texts:
            self.clear()
            self._write(permanent)
        elif permanent or not self._is_cursor_hidden or texts != self._drawn:
            self._write(permanent + self._hidden_cursor() + self._frame(texts))

    def clear(self) -> None:
        """Remove the lines at the end of the screen and show the cursor."""
        if self._is_cursor_hidden:
            self._is_cursor_hidden, self._drawn = False, []
            self._write(f"\r{_CLEAR_BELOW}{_WRAP}{_SHOW_CURSOR}")

    def when_idle(self, action: Callable[[], None]) -> None:
        """Call a signal handler's `action` now, or after the write that the signal has interrupted."""
        if self._is_writing:
            self._deferred = action
        else:
            action()

    @property
    def is_in_foreground(self) -> bool:
        """Whether this command may draw: a shell has given it the terminal, and it still exists."""
        return not self._is_lost and is_in_foreground(self._stream)

    def _hidden_cursor(self) -> str:
        shown, self._is_cursor_hidden = not self._is_cursor_hidden, True
        return _HIDE_CURSOR if shown else ""

    def _frame(self, texts: list[str]) -> str:
        """Return the lines, and after them the way back to the first one."""
        self._drawn = texts
        body = "\r\n".join(f"{one}{_CLEAR_LINE_END}" for one in texts)
        up = f"\x1b[{len(texts) - 1}A" if len(texts) > 1 else ""
        return f"\r{_NO_WRAP}{body}{_CLEAR_BELOW}{_WRAP}{up}\r"

    def _write(self, text: str) -> None:
        """Write all at once; a terminal that is gone must not stop the command."""
        if self._is_lost:
            return
        self._is_writing = True
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, OutputError):
            self._is_lost = True
        finally:
            self._is_writing = False
        if self._deferred is not None:
            action, self._deferred = self._deferred, None
            action()
