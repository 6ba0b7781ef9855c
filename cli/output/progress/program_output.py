"""What a command prints besides errors when its reader is a program, or when it has to be quiet."""

from __future__ import annotations

from collections.abc import Sequence

from cli.output import formatting
from cli.output.messages import clear_busy, say
from cli.output.progress.endings import Endings
from cli.output.progress.totals import NOTHING, Totals
from tasks.api.job_json import job_as_json
from tasks.api.job_view import JobView


class NoProgress:
    """Shows no progress, for a command that prints JSON at the end: standard output has nothing else."""

    def __init__(self) -> None:
        self._endings = Endings()

    def show(
        self,
        views: Sequence[JobView],
        to_come: int = 0,  # noqa: ARG002
        ended: Totals = NOTHING,  # noqa: ARG002
    ) -> None:
        """Print the failures."""
        for text, _ in self._endings.of(views, only_failures=True):
            self.fail(text)

    def note(self, text: str) -> None:
        """Print to standard error."""
        self.fail(text)

    def fail(self, text: str) -> None:
        """Print to standard error."""
        say(text)

    def status(self, text: str) -> None:
        """Print to standard error."""
        if text:
            self.fail(text)

    def end(self, text: str) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class Quiet(NoProgress):
    """Prints errors only."""

    def note(self, text: str) -> None:
        """Do nothing."""

    def status(self, text: str) -> None:
        """Do nothing."""


class JsonLines(NoProgress):
    """Prints one JSON object a line for each change of a job."""

    def __init__(self) -> None:
        super().__init__()
        self._shown: dict[str, str] = {}

    def show(
        self,
        views: Sequence[JobView],
        to_come: int = 0,  # noqa: ARG002
        ended: Totals = NOTHING,  # noqa: ARG002
    ) -> None:
        """Print the jobs that changed."""
        clear_busy()
        for view in views:
            text = formatting.as_json(job_as_json(view))
            if self._shown.get(view.job.id) != text:
                self._shown[view.job.id] = text
                print(text, flush=True)
