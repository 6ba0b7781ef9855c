"""The jobs of one `seen get`: submitted or continued, read, and paused."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Self

import tasks
from cli.context import open_runtime, why_unpublished
from cli.following.earlier_jobs import adapt_earlier, resume_earlier
from cli.following.job_poll import JobPoll
from cli.local_stack.client import StackClient
from cli.signals import delay_interrupts
from domain.job import Job
from domain.request import DownloadRequest
from seen_local import discovery
from tasks.api.job_view import JobReader, JobView
from worker.runtime import Runtime


class Batch:
    """Jobs in the order of their requests.

    Attributes:
        new_ids: the jobs that did not exist before.
        left: how many unfinished jobs of other commands `pause` has left running.
    """

    def __init__(
        self,
        runtime: Runtime,
        requests: Sequence[DownloadRequest],
        *,
        at_once: int | None,
        is_only_client: bool,
        show_urls: bool,
    ) -> None:
        self.new_ids: set[str] = set()
        self.left = 0
        self._runtime = runtime
        self._unsubmitted = list(requests)
        self._at_once = at_once or len(requests)
        self._is_only_client = is_only_client
        self._poll = JobPoll(JobReader(runtime.jobs, runtime.cache.download, shows_urls=show_urls))
        #: Jobs that this command submitted or resumed; it pauses no others.
        self._started: set[str] = set()
        self._notes: list[str] = []
        self._answer: Callable[[], None] = lambda: None

    @classmethod
    def of(
        cls,
        requests: Sequence[DownloadRequest],
        *,
        at_once: int | None,
        stack: StackClient | None,
        show_urls: bool,
    ) -> Self:
        """Return the jobs of these requests; none is submitted yet.

        Args:
            requests: what to download.
            at_once: how many of the jobs are unfinished at a time. None for all.
            stack: the local stack, if one is used.
            show_urls: name the jobs by their whole URLs.
        """
        runtime = open_runtime()
        return cls(
            runtime,
            requests,
            at_once=at_once,
            is_only_client=stack is not None and stack.started,
            show_urls=show_urls,
        )

    def submit(self, stack: StackClient | None, answer: Callable[[], None]) -> None:
        """Submit the first requests, and let `read` submit the next ones.

        An unfinished job for the same request is continued instead. An interrupt is raised when the
        jobs are known that were accepted.

        Args:
            stack: the local stack, if one is used.
            answer: called at once when an interrupt comes while requests are submitted.

        Raises:
            SecondInterrupt: a second interrupt has come meanwhile: jobs may be accepted and unknown.
        """
        self._answer = answer
        oldest = min(self._submit(self._at_once), key=lambda job: job.id)
        if stack is not None and not stack.started:
            self._notes.insert(0, _joined(stack, self._runtime, oldest))

    @property
    def unsubmitted(self) -> int:
        """How many requests are not submitted yet."""
        return len(self._unsubmitted)

    def read(self) -> list[JobView]:
        """Return the jobs as they are now; submit the next requests where jobs have ended."""
        views = self._poll.read()
        free = self._at_once - sum(not view.is_idle for view in views)
        if free > 0 and self._unsubmitted:
            self._submit(free)
            views = self._poll.read()
        return views

    def take_notes(self) -> list[str]:
        """Return lines to print about jobs that were submitted since the last call."""
        notes, self._notes = self._notes, []
        return notes

    def _submit(self, count: int) -> Sequence[Job]:
        with delay_interrupts(self._answer):
            return self._submit_now(count)

    def _submit_now(self, count: int) -> Sequence[Job]:
        requests, self._unsubmitted = self._unsubmitted[:count], self._unsubmitted[count:]
        runtime = self._runtime
        jobs = tasks.submit_many(requests, runtime=runtime)
        self._poll.add(job.id for job in jobs)
        earlier = {job.id: job for job in jobs if not job.is_new}
        self._notes += adapt_earlier(earlier.values(), requests[0], runtime)
        resumed = {job.id for job in earlier.values() if resume_earlier(job, runtime)}
        new = {job.id for job in jobs if job.is_new}
        self.new_ids |= new
        self._started |= new | (set(earlier) if self._is_only_client else resumed)
        self._note_earlier(earlier)
        if any(job.is_new and job.published_at is None for job in jobs):
            self._notes.append(why_unpublished(runtime.outages))
        return jobs

    def pause(self) -> None:
        """Pause the jobs that this command started, and forget the others; submit no more."""
        self.submit_no_more()
        job_ids = self._poll.job_ids
        self._poll.job_ids = [
            one for one in job_ids if one in self._started or self._poll.is_finished(one)
        ]
        self.left = len(job_ids) - len(self._poll.job_ids)
        self._pause(self._poll.job_ids)

    def give_up(self, job_ids: Iterable[str]) -> None:
        """Pause those jobs that this command started; leave the others running."""
        self._pause(job_id for job_id in job_ids if job_id in self._started)

    def _pause(self, job_ids: Iterable[str]) -> None:
        unfinished = [job_id for job_id in job_ids if not self._poll.is_finished(job_id)]
        tasks.control_many(tasks.Action.PAUSE, unfinished, runtime=self._runtime)

    def submit_no_more(self) -> None:
        """Leave the requests that are not submitted yet; `unsubmitted` still counts them."""
        self._at_once = 0

    def _note_earlier(self, job_ids: Collection[str]) -> None:
        for view in self._poll.read() if job_ids else ():
            if view.job.id not in job_ids:
                continue
            if view.job.id in self._started:
                self._notes.append(f"{view.label}: continuing an earlier download")
            else:
                self._notes.append(f"{view.label}: already being downloaded; waiting for it")


def _joined(stack: StackClient, runtime: Runtime, oldest: Job) -> str:
    """Return a line: which stack the command has joined, and how many jobs are ahead of its own."""
    running, queued = runtime.jobs.count_ahead(oldest)
    ahead = f"{running:,} running, {queued:,} queued" if running or queued else "no other jobs"
    return f"using {discovery.describe(stack.state)}; before this: {ahead}"
