"""Reads the same jobs again and again; a finished one is read once."""

from __future__ import annotations

from collections.abc import Iterable

from tasks.api.job_view import JobReader, JobView


class JobPoll:
    """Jobs in a fixed order.

    Args:
        reader: of the jobs.
        job_ids: which ones.
    """

    def __init__(self, reader: JobReader, job_ids: Iterable[str] = ()) -> None:
        self.job_ids = list(dict.fromkeys(job_ids))
        self._reader = reader
        self._finished: dict[str, JobView] = {}

    def add(self, job_ids: Iterable[str]) -> None:
        """Read these jobs, too, after the others."""
        self.job_ids = list(dict.fromkeys([*self.job_ids, *job_ids]))

    def is_finished(self, job_id: str) -> bool:
        """Return whether the last read has found a job finished."""
        return job_id in self._finished

    def read(self) -> list[JobView]:
        """Return the jobs as they are now."""
        unfinished = [job_id for job_id in self.job_ids if job_id not in self._finished]
        found = {view.job.id: view for view in self._reader.read(unfinished)} if unfinished else {}
        self._finished |= {job_id: view for job_id, view in found.items() if view.is_finished}
        return [found.get(job_id) or self._finished[job_id] for job_id in self.job_ids]
