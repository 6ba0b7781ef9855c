"""How a command shows the jobs that it follows; the displays are in `progress/`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Protocol

from cli.output.progress.live_display import LiveDisplay
from cli.output.progress.plain_lines import PlainLines
from cli.output.progress.totals import NOTHING, Totals
from cli.output.terminal import Terminal
from tasks.api.job_view import JobView


class Display(Protocol):
    """Shows jobs; `show` is called for each poll."""

    def show(self, views: Sequence[JobView], to_come: int = 0, ended: Totals = NOTHING) -> None:
        """Update what is shown. A job that has finished is named once, a failed one as an error.

        Args:
            views: all jobs, but of finished ones only those that have not been shown as such.
            to_come: how many files have no job yet.
            ended: the sums of the other finished jobs.
        """

    def note(self, text: str) -> None:
        """Print a line that stays."""

    def fail(self, text: str) -> None:
        """Print an error that stays."""

    def status(self, text: str) -> None:
        """Show what the command itself does, ``pausing …``, until another text or none is given."""

    def end(self, text: str) -> None:
        """Print the sums at the end."""

    def close(self) -> None:
        """Restore the terminal."""


def for_terminal(*, before_stop: Callable[[], None] = lambda: None) -> Display:
    """Return live rows where standard output is a terminal that can show them, else lines.

    Args:
        before_stop: called before Ctrl-Z stops a command with live rows.
    """
    terminal = Terminal.of(sys.stdout)
    return LiveDisplay(terminal, before_stop=before_stop) if terminal.is_live else PlainLines()
