"""Which jobs have ended since the last look, and what is said about them once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cli.output.job_state import state
from cli.output.job_text import result_line
from domain.job import JobStatus
from domain.text import printable
from tasks.api.job_view import JobView, WaitingFor

#: Waits that many jobs have at once and that end by themselves: their rows say enough.
_ORDINARY_WAITS = frozenset({WaitingFor.HOST_SLOT, WaitingFor.USER_SLOT})


class Endings:
    """Finds jobs that have finished, each once."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def of(self, views: Sequence[JobView]) -> Iterator[tuple[str, bool]]:
        """Yield for each job that has finished its result line, and whether it failed."""
        for view in views:
            if view.is_finished and view.job.id not in self._known:
                self._known.add(view.job.id)
                yield result_line(view), view.status is JobStatus.FAILED


def wait_text(view: JobView) -> str:
    """Return a line that says why a job waits; empty for an ordinary wait."""
    if view.waiting_for in _ORDINARY_WAITS or not view.progress.reason:
        return ""
    return f"{view.label}: {state(view)}. {printable(view.progress.reason)}"
