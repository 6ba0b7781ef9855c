"""The live display: rows of jobs at the end of a terminal, and above them what has ended."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from cli.output.progress.endings import Endings, wait_text
from cli.output.progress.frame import frame
from cli.output.progress.interruptions import Interruptions
from cli.output.progress.screen import Screen
from cli.output.styled import Style, as_ansi, line
from cli.output.terminal import Terminal, size
from domain.job import JobStatus
from domain.text import printable
from tasks.api.job_view import JobView

_ASCII = {"…": "...", "→": "->"}


class LiveDisplay:
    """Shows jobs on the terminal of standard output; use it in the main thread, and close it."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._screen = Screen(sys.stdout, colour=terminal.has_colour)
        self._endings = Endings()
        self._explained: set[str] = set()
        self._views: Sequence[JobView] = ()
        self._status = ""
        self._interruptions = Interruptions(self._screen.clear, self._draw)

    def show(self, views: Sequence[JobView]) -> None:
        """Update the rows; a job that has ended becomes a line above them."""
        self._views = views
        for text, is_failure in self._endings.of(views):
            (self.fail if is_failure else self.note)(text)
        for view in views:
            self._explain_wait(view)
        self._draw()

    def note(self, text: str) -> None:
        """Print a line above the rows."""
        self._print(text, Style.PLAIN)

    def fail(self, text: str) -> None:
        """Print an error; standard error may be a file."""
        if sys.stderr.isatty():
            self._print(text, Style.BAD)
        else:
            print(f"seen: {printable(text)}", file=sys.stderr, flush=True)

    def status(self, text: str) -> None:
        """Show at once what the command does; an empty text removes that."""
        self._status = text
        self._draw()

    def end(self, text: str) -> None:
        """Print the last line."""
        self._status = ""
        self.note(text)

    def close(self) -> None:
        """Remove the rows and restore the terminal."""
        self._interruptions.close()
        self._screen.clear()

    def _draw(self) -> None:
        if not self._screen.is_in_foreground:
            return
        columns, rows = size(sys.stdout)
        symbols = self._terminal.has_symbols
        status = self._status if symbols else _as_ascii(self._status)
        now = datetime.now(UTC)
        self._screen.draw(
            frame(self._views, columns, rows, now, status=status, symbols=symbols)
        )

    def _print(self, text: str, style: Style) -> None:
        shown = printable(text) if self._terminal.has_symbols else _as_ascii(printable(text))
        self._screen.print_above(
            [as_ansi(line(shown, style), colour=self._terminal.has_colour)]
        )

    def _explain_wait(self, view: JobView) -> None:
        """Print each reason for a wait once: it does not fit beside a bar."""
        if view.status is not JobStatus.WAITING:
            return
        reason = view.progress.reason or ""
        text = "" if reason in self._explained else wait_text(view)
        if text:
            self._explained.add(reason)
            self.note(text)


def _as_ascii(text: str) -> str:
    for symbol, replacement in _ASCII.items():
        text = text.replace(symbol, replacement)
    return text
