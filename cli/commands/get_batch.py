"""The downloads of one `seen get`: begun or continued, looked at, paused."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Self

import tasks
from cli.context import open_runtime, why_unpublished
from domain.errors import IllegalTransitionError
from domain.job import DownloadRequest, Job, JobStatus
from tasks.api.job_view import JobReader, JobView
from worker.runtime import Runtime


class Batch:
    """Jobs in the order of their requests.

    Attributes:
        notes: what there is to tell about how they began.
    """

    def __init__(self, runtime: Runtime, jobs: Sequence[Job], started: set[str]) -> None:
        self.notes: list[str] = []
        self._runtime = runtime
        self._ids = list(dict.fromkeys(job.id for job in jobs))
        self._started = started
        self._reader = JobReader(runtime.jobs, runtime.cache.download)

    @classmethod
    def submit(cls, wanted: Sequence[DownloadRequest], *, alone: bool) -> Self:
        """Submit requests, or continue the unfinished jobs that asked for the same.

        Args:
            wanted: the requests.
            alone: whether nobody else can be at work on what is found.
        """
        runtime = open_runtime()
        jobs = tasks.submit_many(wanted, runtime=runtime)
        resumed = {job.id for job in jobs if not job.is_new and (_resume(runtime, job) or alone)}
        batch = cls(runtime, jobs, resumed | {job.id for job in jobs if job.is_new})
        batch._note_earlier({job.id for job in jobs if not job.is_new})
        if any(job.published_at is None for job in jobs if job.is_new):
            batch.notes.append(why_unpublished(runtime))
        return batch

    def read(self) -> list[JobView]:
        """Return how they stand."""
        return self._reader.read(self._ids)

    def pause(self) -> None:
        """Pause those that this command began or woke; others go on for whoever wants them."""
        self._ids = [job_id for job_id in self._ids if job_id in self._started]
        for job_id in self._ids:
            with suppress(IllegalTransitionError):  # it has just finished
                tasks.pause(job_id, runtime=self._runtime)

    def give_up(self, job_id: str) -> None:
        """Pause one that this command began or woke; another one goes on for whoever wants it."""
        if job_id in self._started:
            with suppress(IllegalTransitionError):  # it has just finished
                tasks.pause(job_id, runtime=self._runtime)

    def _note_earlier(self, job_ids: set[str]) -> None:
        for one in self.read():
            if one.job.id not in job_ids:
                continue
            if one.job.id in self._started:
                self.notes.append(f"{one.label}: continuing an earlier download")
            else:
                self.notes.append(f"{one.label}: being downloaded already; waiting for it")


def all_idle(views: Sequence[JobView]) -> bool:
    """Say whether nothing more happens to any of them by itself."""
    return all(one.is_finished or one.job.status is JobStatus.PAUSED for one in views)


def _resume(runtime: Runtime, job: Job) -> bool:
    """Have a job at rest, or on its way there, go on; False when it runs or waits its turn already."""
    if job.status in {JobStatus.WAITING, JobStatus.PAUSED} or job.control == "pause":
        # A person is here and asks now: a wait between two attempts is over, too.
        with suppress(IllegalTransitionError):  # it ended meanwhile
            tasks.resume(job.id, runtime=runtime)
        return True
    if job.status is JobStatus.QUEUED:
        # Its message may have gone with an earlier store; a second one does nothing.
        runtime.publisher.publish([job])
    return False
