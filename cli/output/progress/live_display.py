"""The live display: rows of jobs at the end of a terminal, and above them what has ended."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime

from cli.output.messages import clear_busy, say
from cli.output.progress.endings import MANY, Endings, wait_text
from cli.output.progress.frame import frame
from cli.output.progress.interruptions import Interruptions
from cli.output.progress.row_choice import AS_GIVEN, RowChoice
from cli.output.progress.screen import Screen
from cli.output.progress.totals import NOTHING, Totals
from cli.output.styled import Line, Style, line
from cli.output.terminal import Terminal, size
from domain.job import JobStatus
from domain.text import printable
from tasks.api.job_view import JobView

_ASCII = {"…": "...", "→": "->", "↑ ↓": "j k", "↑ and ↓": "j and k", "▏": "_"}


class LiveDisplay:
    """Shows jobs on the terminal of standard output; use it in the main thread, and close it.

    Args:
        terminal: what it can show.
        before_stop: called before Ctrl-Z stops the process.
    """

    def __init__(
        self, terminal: Terminal, *, before_stop: Callable[[], None] = lambda: None
    ) -> None:
        clear_busy()
        self._terminal = terminal
        self._screen = Screen(sys.stdout, colour=terminal.has_colour)
        self._endings = Endings()
        self._explained: set[str] = set()
        self._views: Sequence[JobView] = ()
        self._to_come = 0
        self._ended = NOTHING
        self._status = ""
        self._choice = AS_GIVEN
        self._before_stop = before_stop
        self._interruptions = Interruptions(self._restore, self._draw, self._screen.when_idle)

    def show(self, views: Sequence[JobView], to_come: int = 0, ended: Totals = NOTHING) -> None:
        """Update the rows; a job that has ended becomes a line above them."""
        self._views, self._to_come, self._ended = views, to_come, ended
        above = []
        are_many = len(views) + to_come + ended.number > MANY
        for text, is_failure in self._endings.of(views, only_failures=are_many):
            if is_failure and not sys.stderr.isatty():
                say(text)  # it is a file
            else:
                above.append(self._line(text, Style.BAD if is_failure else Style.PLAIN))
        self._draw(above + [self._line(text) for text in self._new_reasons(views)])

    def note(self, text: str) -> None:
        """Print a line above the rows."""
        self._draw([self._line(text)])

    def fail(self, text: str) -> None:
        """Print an error; standard error may be a file."""
        if sys.stderr.isatty():
            self._draw([self._line(text, Style.BAD)])
        else:
            say(text)

    def status(self, text: str) -> None:
        """Show at once what the command does; an empty text removes that."""
        self._status = text
        self._draw()

    def choose(self, choice: RowChoice, status: str) -> None:
        """Show these rows and this last line from now on."""
        self._choice = choice
        self.status(status)

    def end(self, text: str) -> None:
        """Print the last line."""
        self._status = ""
        self.note(text)

    def close(self) -> None:
        """Remove the rows and restore the terminal."""
        self._interruptions.close()
        self._screen.clear()

    def _restore(self) -> None:
        self._screen.clear()
        self._before_stop()

    def _draw(self, above: Sequence[Line] = ()) -> None:
        """Print lines that stay, and the rows as they are now."""
        rows = self._rows() if self._screen.is_in_foreground else []
        self._screen.update(above, rows)

    def _rows(self) -> list[Line]:
        columns, rows = size(sys.stdout)
        symbols = self._terminal.has_symbols
        status = self._status if symbols else _as_ascii(self._status)
        now = datetime.now(UTC)
        return frame(
            self._views,
            columns,
            rows,
            now,
            to_come=self._to_come,
            ended=self._ended,
            status=status,
            choice=self._choice,
            symbols=symbols,
        )

    def _line(self, text: str, style: Style = Style.PLAIN) -> Line:
        shown = printable(text)
        return line(shown if self._terminal.has_symbols else _as_ascii(shown), style)

    def _new_reasons(self, views: Sequence[JobView]) -> Iterator[str]:
        """Yield each reason for a wait once: it does not fit beside a bar."""
        for view in views:
            reason = view.progress.reason or ""
            waits = view.status is JobStatus.WAITING or view.has_silent_disk
            if waits and reason not in self._explained:
                text = wait_text(view)
                if text:
                    self._explained.add(reason)
                    yield text


def _as_ascii(text: str) -> str:
    for symbol, replacement in _ASCII.items():
        text = text.replace(symbol, replacement)
    return text
