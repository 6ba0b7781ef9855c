"""Reads the same jobs again and again; a finished one is returned once."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from cli.output.progress.totals import NOTHING, Totals
from domain.job import Job
from tasks.api.job_view import JobReader, JobView


class JobPoll:
    """Jobs in a fixed order.

    Args:
        reader: of the jobs.
        job_ids: which ones.

    Attributes:
        views: what the last read has returned, and jobs added since.
        ended: the sums of finished jobs that are not in `views`.
    """

    def __init__(self, reader: JobReader, job_ids: Iterable[str] = ()) -> None:
        self.ended: Totals = NOTHING
        self.views: Sequence[JobView] = ()
        self._reader = reader
        self._unfinished = dict.fromkeys(job_ids)
        self._finished: set[str] = set()

    def add(self, jobs: Iterable[Job]) -> None:
        """Read these jobs, too, after the others; they are unfinished, and were read just now."""
        known = self._finished | self._unfinished.keys()
        new = {job.id: job for job in jobs if job.id not in known}
        self.views = [*self.views, *self._reader.take(new.values())]
        self._unfinished |= dict.fromkeys(new)

    def forget(self, job_ids: Collection[str]) -> None:
        """Read these jobs no more."""
        for job_id in job_ids:
            self._unfinished.pop(job_id, None)

    @property
    def unfinished(self) -> list[str]:
        """The jobs that the last read has not found finished, and those added since."""
        return list(self._unfinished)

    @property
    def totals(self) -> Totals:
        """The sums over all jobs that have been read."""
        return self.ended + Totals.of(self.views)

    def read(self) -> Sequence[JobView]:
        """Return the unfinished jobs as they are now, and those that have finished meanwhile."""
        views = self._reader.read(self.unfinished)
        self.ended += Totals.of([view for view in self.views if view.is_finished])
        self.views = views
        finished = [view.job.id for view in self.views if view.is_finished]
        self._finished.update(finished)
        self.forget(finished)
        return self.views
