"""What `seen add` prints about the jobs that it has accepted: their ids, or their fields as JSON."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cli.output.json_list import JsonList
from cli.output.messages import clear_busy, say, show_busy
from domain.errors import OutputError

if TYPE_CHECKING:
    from tasks import SubmittedJob
    from tasks.api.job_view import JobReader

#: Ids of accepted jobs that an error names.
_IDS_IN_ERROR = 10
#: Jobs that existed before and are named; others are counted.
_NAMED = 20
#: Seconds between two lines where there is no terminal, and between two changes of a bar.
_LINE_PAUSE, _BAR_PAUSE = 5.0, 0.1
_BAR = 30


class AcceptedJobs:
    """Prints an id a line, and notes about jobs that existed before.

    Attributes:
        has_unsent: one of the new jobs could not be published.
    """

    def __init__(self) -> None:
        self.has_unsent = False
        self._existing = 0

    def add(self, jobs: Sequence[SubmittedJob]) -> None:
        """Print a group of jobs.

        Raises:
            OutputError: standard output cannot be written; it names the jobs.
        """
        self.has_unsent = self.has_unsent or any(
            job.is_new and job.published_at is None for job in jobs
        )
        clear_busy()
        with _still_accepted(jobs):
            self._print(jobs)
            sys.stdout.flush()

    def end(self) -> None:
        """Print how many jobs existed before, where not all of them were named."""
        more = self._existing - _NAMED
        if more > 0:
            exist = "exists" if more == 1 else "exist"
            say(f"{more:,} more {exist} already and were not added again.")

    def _print(self, jobs: Sequence[SubmittedJob]) -> None:
        from cli.output.job_state import state_and_control

        print("\n".join(job.id for job in jobs))
        for job in jobs:
            if not job.is_new:
                self._existing += 1
                if self._existing <= _NAMED:
                    say(
                        f"{job.id} exists already, {state_and_control(job)}; it was not added again."
                    )


class AcceptedJson(AcceptedJobs):
    """Prints a JSON list, an element a job, as groups of jobs are accepted.

    Args:
        reader: of the jobs.
        before: elements that come first.
    """

    def __init__(self, reader: JobReader, before: Sequence[object] = ()) -> None:
        super().__init__()
        self._reader = reader
        self._before = before
        self._list = JsonList()

    @property
    def is_open(self) -> bool:
        """Whether a part of the list has been printed."""
        return self._list.is_open

    def end(self, *more: object) -> None:
        """End the list, with these elements."""
        self._list.add(more)
        self._list.end()

    def _print(self, jobs: Sequence[SubmittedJob]) -> None:
        from tasks.api.job_json import job_as_json

        views = self._reader.read([job.id for job in jobs])
        pairs = zip(views, jobs, strict=True)
        before, self._before = self._before, ()
        self._list.add(before)
        self._list.add({**job_as_json(view), "is_new": job.is_new} for view, job in pairs)


@contextmanager
def _still_accepted(jobs: Sequence[SubmittedJob]) -> Iterator[None]:
    """Say that the jobs are accepted when their ids cannot be printed."""
    try:
        yield
    except OutputError as error:
        ids = ", ".join(job.id for job in jobs[:_IDS_IN_ERROR])
        more = len(jobs) - _IDS_IN_ERROR
        rest = f" and {more:,} more" if more > 0 else ""
        effect = f"The downloads are accepted all the same: {ids}{rest}. See `seen list`."
        raise OutputError(error.error, effect) from None


class AcceptProgress:
    """Shows how many of many downloads are accepted: a bar on a terminal, else now and then a line."""

    def __init__(self, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._total = total
        self._clock = clock
        self._bar_due = clock()
        self._line_due = clock() + _LINE_PAUSE

    def show(self, number: int) -> None:
        """Show that so many are accepted."""
        now = self._clock()
        if number == self._total:
            clear_busy()
        elif now >= self._bar_due:
            self._bar_due = now + _BAR_PAUSE
            done = _BAR * number // self._total
            count = f"{number:,} of {self._total:,}"
            is_shown = show_busy(f"accepting {'━' * done}{'─' * (_BAR - done)} {count}")
            if not is_shown and now >= self._line_due:
                self._line_due = now + _LINE_PAUSE
                say(f"{count} downloads are accepted.")
