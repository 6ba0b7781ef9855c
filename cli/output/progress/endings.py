"""Which jobs have ended since the last look, and what is said about them once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cli.output.job_state import state
from cli.output.job_text import result_line
from domain.job import JobStatus
from domain.text import printable
from tasks.api.job_view import JobView, WaitingFor

#: Waits that many jobs have at once and that end by themselves: their rows say enough.
_ORDINARY_WAITS = frozenset({WaitingFor.HOST_SLOT, WaitingFor.USER_SLOT, WaitingFor.TOTAL_SLOT})


#: Of more jobs, a terminal names those that failed, and counts the others.
MANY = 100
#: So many failures are named.
_MOST_FAILURES = 100


class Endings:
    """Finds jobs that have finished, each once."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._failures = 0

    def of(
        self, views: Sequence[JobView], *, only_failures: bool = False
    ) -> Iterator[tuple[str, bool]]:
        """Yield for each job that has finished its result line, and whether it failed.

        Failures after the first 100 are counted by the sums; a line says so.
        """
        for view in views:
            if not view.is_finished or view.job.id in self._known:
                continue
            self._known.add(view.job.id)
            is_failure = view.status is JobStatus.FAILED
            self._failures += is_failure
            if self._failures <= _MOST_FAILURES or not is_failure:
                if is_failure or not only_failures:
                    yield result_line(view), is_failure
            elif self._failures == _MOST_FAILURES + 1:
                yield (
                    "Further failures are only counted; `seen list --status failed` names them.",
                    True,
                )


def wait_text(view: JobView) -> str:
    """Return a line that says why a job waits, or is held up; empty for an ordinary wait."""
    if view.waiting_for in _ORDINARY_WAITS or not view.progress.reason:
        return ""
    return f"{view.label}: {state(view)}. {printable(view.progress.reason)}"
