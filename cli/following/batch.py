"""The jobs of one `seen get`: submitted or continued, read, and paused."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Self

import tasks
from cli.context import open_runtime, why_unpublished
from cli.following.job_poll import JobPoll
from cli.local_stack.client import StackClient
from domain.errors import IllegalTransitionError
from domain.job import Job, JobStatus
from domain.request import DownloadRequest
from tasks.api.job_view import JobReader, JobView
from worker.running_stack import discovery
from worker.runtime import Runtime


class Batch:
    """Jobs in the order of their requests.

    Attributes:
        new_ids: the jobs that did not exist before.
        notes: lines to print before the progress.
    """

    def __init__(
        self, runtime: Runtime, poll: JobPoll, new_ids: set[str], resumed_ids: set[str]
    ) -> None:
        self.new_ids = new_ids
        self.notes: list[str] = []
        self._runtime = runtime
        self._poll = poll
        #: Jobs that this command submitted or resumed; it pauses no others.
        self._started = new_ids | resumed_ids

    @classmethod
    def submit(
        cls, requests: Sequence[DownloadRequest], *, stack: StackClient | None, show_urls: bool
    ) -> Self:
        """Submit requests; an unfinished job for the same request is continued instead.

        Args:
            requests: what to download.
            stack: the local stack, if one is used.
            show_urls: name the jobs by their whole URLs.
        """
        runtime = open_runtime()
        is_only_client = stack is not None and stack.started
        jobs = tasks.submit_many(requests, runtime=runtime)
        earlier = [job for job in jobs if not job.is_new]
        resumed = {job.id for job in earlier if _resume(runtime, job) or is_only_client}
        new = {job.id for job in jobs if job.is_new}
        reader = JobReader(runtime.jobs, runtime.cache.download, shows_urls=show_urls)
        batch = cls(runtime, JobPoll(reader, [job.id for job in jobs]), new, resumed)
        if stack is not None and not stack.started:
            batch.notes.append(_joined(stack, runtime, min(jobs, key=lambda job: job.id)))
        batch._note_earlier({job.id for job in earlier})
        if any(job.is_new and job.published_at is None for job in jobs):
            batch.notes.append(why_unpublished(runtime.outages))
        return batch

    def read(self) -> list[JobView]:
        """Return the jobs as they are now."""
        return self._poll.read()

    def pause(self) -> None:
        """Pause the jobs that this command started, and forget the others."""
        self._poll.job_ids = [one for one in self._poll.job_ids if one in self._started]
        self._pause(self._poll.job_ids)

    def give_up(self, job_ids: Iterable[str]) -> None:
        """Pause those jobs that this command started; leave the others running."""
        self._pause(job_id for job_id in job_ids if job_id in self._started)

    def _pause(self, job_ids: Iterable[str]) -> None:
        unfinished = [job_id for job_id in job_ids if not self._poll.is_finished(job_id)]
        tasks.control_many(tasks.Action.PAUSE, unfinished, runtime=self._runtime)

    def _note_earlier(self, job_ids: set[str]) -> None:
        for view in self.read():
            if view.job.id not in job_ids:
                continue
            if view.job.id in self._started:
                self.notes.append(f"{view.label}: continuing an earlier download")
            else:
                self.notes.append(f"{view.label}: already being downloaded; waiting for it")


def _joined(stack: StackClient, runtime: Runtime, oldest: Job) -> str:
    """Return a line: which stack the command has joined, and how many jobs are ahead of its own."""
    running, queued = runtime.jobs.count_ahead(oldest)
    ahead = f"{running:,} running, {queued:,} queued" if running or queued else "no other jobs"
    return f"using {discovery.describe(stack.state)}; before this: {ahead}"


def _resume(runtime: Runtime, job: Job) -> bool:
    """Resume a job that waits or is paused; return False for one that is running or queued."""
    if job.status in {JobStatus.WAITING, JobStatus.PAUSED} or job.control == "pause":
        with suppress(IllegalTransitionError):  # it has just finished
            tasks.resume(job.id, runtime=runtime)
        return True
    if job.status is JobStatus.QUEUED:
        # Its message may be lost with the store of an earlier stack; a second message is harmless.
        runtime.publisher.publish([job])
    return False
