"""The jobs of one `seen get`: submitted or continued, read, and paused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Self

import tasks
from cli.context import open_runtime, why_unpublished
from cli.following.earlier_jobs import adapt_earlier, resume_earlier
from cli.following.job_poll import JobPoll
from cli.local_stack.client import StackClient
from cli.output.progress.totals import Totals
from cli.signals import delay_interrupts
from domain.job import RUNNING, Job, JobStatus, SubmittedJob
from domain.request import DownloadRequest
from seen_local import discovery
from tasks.api.job_view import JobReader, JobView
from tasks.api.submit import check_folders
from worker.runtime import Runtime

#: Without `-j`, at most so many jobs are unfinished at a time: workers take seconds for them, and one
#: look at them costs 20 ms.
_AHEAD = 2000
#: Requests that are submitted together.
_GROUP = 500
#: Earlier jobs that are named; of more, the number is.
_NAMED = 10
#: Failed jobs that are kept, to say how they are continued.
_KEPT_FAILURES = 100


_WAITING = "already being downloaded; waiting for it"


class Batch:
    """Jobs in the order of their requests; it keeps ids, and the jobs that are not finished.

    Attributes:
        stored: by id the bytes that a job had when it was submitted, unless it ran then.
        left: how many unfinished jobs of other commands `pause` has left running.
        failed: failed jobs, of many the first ones.
    """

    def __init__(
        self,
        runtime: Runtime,
        requests: Sequence[DownloadRequest],
        *,
        typed: int,
        at_once: int | None,
        is_only_client: bool,
        show_urls: bool,
    ) -> None:
        self.stored: dict[str, int] = {}
        self.left = 0
        self.failed: list[JobView] = []
        self._runtime = runtime
        self._requests = requests
        self._typed = typed
        self._submitted = 0
        self._has_limit = at_once is not None
        self._at_once = at_once or min(len(requests), _AHEAD)
        self._is_only_client = is_only_client
        self._reader = JobReader(runtime.jobs, runtime.cache.download, shows_urls=show_urls)
        self._poll = JobPoll(self._reader)
        self._job_ids: dict[str, None] = {}
        #: Jobs that this command submitted or resumed; it pauses no others.
        self._started: set[str] = set()
        self._notes: list[str] = []
        self._answer: Callable[[], None] = lambda: None

    @classmethod
    def of(
        cls,
        requests: Sequence[DownloadRequest],
        *,
        typed: int,
        at_once: int | None,
        stack: StackClient | None,
        show_urls: bool,
    ) -> Self:
        """Return the jobs of these requests; none is submitted yet.

        Args:
            requests: what to download.
            typed: how many of them, the first ones, are for URLs of the command line.
            at_once: how many of the jobs are unfinished at a time. None for as many as workers may need.
            stack: the local stack, if one is used.
            show_urls: name the jobs by their whole URLs.
        """
        runtime = open_runtime()
        return cls(
            runtime,
            requests,
            typed=typed,
            at_once=at_once,
            is_only_client=stack is not None and stack.started,
            show_urls=show_urls,
        )

    def check_folders(self, directories: Iterable[str]) -> None:
        """Raise InvalidInputError if a folder cannot be one, before the first request is submitted."""
        check_folders(directories, self._runtime)

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
        oldest = self._submit(min(self._at_once, _GROUP))
        if stack is not None and not stack.started:
            self._notes.insert(0, _joined(stack, self._runtime, oldest))

    @property
    def unsubmitted(self) -> int:
        """How many requests are not submitted yet."""
        return len(self._requests) - self._submitted

    @property
    def is_short_of_jobs(self) -> bool:
        """Whether a job that ends makes room for another one, which waits for the next `read`."""
        return self._has_limit and self.unsubmitted > 0

    @property
    def views(self) -> Sequence[JobView]:
        """What the last `read` has returned."""
        return self._poll.views

    @property
    def ended(self) -> Totals:
        """The sums of finished jobs that the last `read` has not returned."""
        return self._poll.ended

    @property
    def totals(self) -> Totals:
        """The sums over all requests."""
        return self._poll.totals + Totals.of((), self.unsubmitted)

    def read(self) -> Sequence[JobView]:
        """Return the unfinished jobs as they are now, and those that have finished since the last call.

        Where jobs have ended, the next requests are submitted.
        """
        running = sum(not view.is_idle for view in self._poll.read())
        while self.unsubmitted and (free := self._room(running)):
            self._submit(free)
            running += free
        failed = [view for view in self.views if view.status is JobStatus.FAILED]
        self.failed += failed[: _KEPT_FAILURES - len(self.failed)]
        return self.views

    def _room(self, running: int) -> int:
        """Return how many requests to submit now; without `-j`, a whole group or none."""
        free = min(self._at_once - running, self.unsubmitted, _GROUP)
        least = 1 if self._has_limit else min(_GROUP, self._at_once, self.unsubmitted)
        return free if free >= least else 0

    def typed(self) -> list[JobView]:
        """Return the jobs of the URLs on the command line, which come first."""
        return self._reader.read(list(islice(self._job_ids, self._typed)), skip_missing=True)

    def all(self) -> Iterator[JobView]:
        """Yield all jobs; a finished one may have been removed meanwhile."""
        job_ids = list(self._job_ids)
        for start in range(0, len(job_ids), _GROUP):
            yield from self._reader.read(job_ids[start : start + _GROUP], skip_missing=True)

    def take_notes(self) -> list[str]:
        """Return lines to print about jobs that were submitted since the last call."""
        notes, self._notes = self._notes, []
        return notes

    def _submit(self, count: int) -> Job:
        with delay_interrupts(self._answer):
            return self._submit_now(count)

    def _submit_now(self, count: int) -> Job:
        """Submit the next requests; return their oldest job."""
        requests = self._requests[self._submitted : self._submitted + count]
        self._submitted += len(requests)
        runtime = self._runtime
        jobs = tasks.submit_many(requests, runtime=runtime)
        self._job_ids |= dict.fromkeys(job.id for job in jobs)
        idle = [job for job in jobs if job.status not in RUNNING]
        self.stored |= {job.id: job.bytes_downloaded for job in idle}
        self._poll.add(jobs)
        earlier = {job.id: job for job in jobs if not job.is_new}
        if earlier:
            self._take_over(earlier, requests[0])
        self._started |= {job.id for job in jobs if job.is_new}
        if any(job.is_new and job.published_at is None for job in jobs):
            self._note(why_unpublished(runtime.outages))
        return min(jobs, key=lambda job: job.id)

    def _take_over(self, earlier: dict[str, SubmittedJob], request: DownloadRequest) -> None:
        """Continue jobs that existed before, as this command wants them."""
        runtime = self._runtime
        self._notes += adapt_earlier(earlier.values(), request, runtime)
        resumed = resume_earlier(earlier.values(), runtime)
        self._started |= set(earlier) if self._is_only_client else resumed
        counts: Counter[str] = Counter()
        for view in self._reader.read(list(earlier), skip_missing=True):
            is_ours = view.job.id in self._started
            what = "continuing an earlier download" if is_ours else _WAITING
            counts[what] += 1
            if counts[what] <= _NAMED:
                self._notes.append(f"{view.label}: {what}")
        self._notes += [
            f"{count - _NAMED:,} more: {what}" for what, count in counts.items() if count > _NAMED
        ]

    def _note(self, text: str) -> None:
        if text not in self._notes:
            self._notes.append(text)

    def pause(self) -> None:
        """Pause the jobs that this command started, and forget the others; submit no more."""
        self.submit_no_more()
        others = [job_id for job_id in self._poll.unfinished if job_id not in self._started]
        self._poll.forget(others)
        self.left = len(others)
        self._pause(self._poll.unfinished)

    def give_up(self, job_ids: Iterable[str]) -> None:
        """Pause those jobs that this command started; leave the others running."""
        self._pause(job_id for job_id in job_ids if job_id in self._started)

    def _pause(self, job_ids: Iterable[str]) -> None:
        unfinished = set(self._poll.unfinished)
        wanted = [job_id for job_id in job_ids if job_id in unfinished]
        tasks.control_many(tasks.Action.PAUSE, wanted, runtime=self._runtime)

    def submit_no_more(self) -> None:
        """Leave the requests that are not submitted yet; `unsubmitted` still counts them."""
        self._at_once = 0


def _joined(stack: StackClient, runtime: Runtime, oldest: Job) -> str:
    """Return a line: which stack the command has joined, and how many jobs are ahead of its own."""
    running, queued = runtime.jobs.count_ahead(oldest)
    ahead = f"{running:,} running, {queued:,} queued" if running or queued else "no other jobs"
    return f"using {discovery.describe(stack.state)}; before this: {ahead}"
