"""A client that submits jobs without pause, and now and then pauses, resumes or cancels one."""

from __future__ import annotations

import math
import random
import time
from dataclasses import dataclass, field

import tasks
from domain.errors import DatabaseUnavailableError, IllegalTransitionError
from domain.job import FINISHED, Job, JobStatus
from domain.request import DownloadRequest
from tests.chaos.background import Background
from tests.chaos.file_specs import FileSpec, serve, serve_small
from tests.support.origins.origin import Origin
from worker.runtime import Runtime

#: Jobs that are under way at any moment.
UNFINISHED = 24
#: Another group of small files is submitted when fewer of theirs are under way.
UNFINISHED_SMALL = 40
#: Jobs of a group, at least and at most; small groups are as frequent as large ones.
GROUP = (1, 500)
#: Groups of one look: several messages at once.
GROUPS = 3
#: Seconds between two looks at them.
LOOK = 0.3
#: Seconds between two changes of mind.
MOODS = (0.5, 2.0)
#: Seconds for which a paused job stays so.
RESTS = (0.5, 3.0)


@dataclass
class Submission:
    """One accepted job, and what else was asked of it."""

    spec: FileSpec
    job_id: str
    words: list[str] = field(default_factory=list)
    """"pause", "cancel", "retry", "resume", as they were asked; with "?" when no answer came."""
    stopped_at: int | None = None
    """The fence of the last claim there may be, while the job is asked to be paused or cancelled."""
    resume_after: float | None = None
    """When to resume it. Seconds of the monotonic clock."""
    is_finished: bool = False

    @property
    def may_be_cancelled(self) -> bool:
        """Whether that can be its end."""
        return "cancel" in self._since_retry() or "cancel?" in self._since_retry()

    def _since_retry(self) -> list[str]:
        """Return what was asked since it last was surely retried: before, it does not matter."""
        asked = self.words
        return asked[len(asked) - asked[::-1].index("retry") :] if "retry" in asked else asked


class Client(Background):
    """A thread that uses the public functions of `tasks` until it is closed.

    Args:
        runtime: by which it uses them.
        origin: of the files.
        seed: decides what is submitted and asked.
        small_files: so many are submitted in groups, at most.

    Attributes:
        submissions: what was accepted.
        specs: what was asked for, accepted or not, by its path at the origin.
        complaints: what the client saw and should not have.
        refusals: how often the database was away.
        groups: the sizes of the groups that were submitted.
    """

    def __init__(self, runtime: Runtime, origin: Origin, seed: int, *, small_files: int) -> None:
        super().__init__("chaos-client", LOOK)
        self._runtime, self._origin = runtime, origin
        self._chance = random.Random(f"client of {seed}")
        self._spec_random = random.Random(f"specs of {seed}")
        self._group_chance = random.Random(f"groups of {seed}")
        self._small_files = small_files
        self._next_mood = 0.0
        self.submissions: list[Submission] = []
        self.specs: dict[str, FileSpec] = {}
        self.complaints: list[tuple[str, str]] = []
        self.refusals = 0
        self.groups: list[int] = []

    def unfinished(self) -> list[Submission]:
        """Return the submissions that were not finished at the last look."""
        return [submission for submission in self.submissions if not submission.is_finished]

    def look(self) -> dict[str, Job]:
        """Note what has finished, resume what has rested, return the jobs under way."""
        submissions = {submission.job_id: submission for submission in self.unfinished()}
        jobs = self._runtime.jobs.get_many(list(submissions))
        for job_id, submission in submissions.items():
            job = jobs.get(job_id)
            if job is None:
                self.complaints.append((job_id, "an accepted job is not in the database"))
                submission.is_finished = True
                continue
            self._check_stopped(submission, job)
            submission.is_finished = job.status in FINISHED
            if job.status is JobStatus.PAUSED and time.monotonic() >= (
                submission.resume_after or 0
            ):
                self._ask(submission, "resume")
        return jobs

    def fill_up(self) -> None:
        """Submit until as many jobs as usual are under way."""
        unfinished = self.unfinished()
        small = sum(submission.spec.is_small for submission in unfinished)
        for _ in range(UNFINISHED - (len(unfinished) - small)):
            self._submit()
        if small < UNFINISHED_SMALL and sum(self.groups) < self._small_files:
            for _ in range(self._group_chance.randint(1, GROUPS)):
                self._submit_group()

    # ── the thread ──────────────────────────────────────────────────────────────────────────────

    def step(self) -> None:
        """Look, submit, and change one's mind when it is time; without database, the next time."""
        try:
            jobs = self.look()
            self.fill_up()
            if time.monotonic() >= self._next_mood:
                self._next_mood = time.monotonic() + self._chance.uniform(*MOODS)
                self._change_mind(jobs)
        except DatabaseUnavailableError:
            self.refusals += 1

    def _submit(self) -> None:
        spec = serve(self._origin, self._spec_random, len(self.specs) + 1)
        self.specs[spec.file.path] = spec
        request = DownloadRequest.model_validate({"url": spec.file.url, **spec.fields})
        job = tasks.submit(request, runtime=self._runtime)
        self.submissions.append(Submission(spec, job.id))

    def _submit_group(self) -> None:
        """Submit small files together, as many as chance says; each size is as likely as its double."""
        low, high = map(math.log, GROUP)
        left = self._small_files - sum(self.groups)
        size = min(left, round(math.exp(self._group_chance.uniform(low, high))))
        if not size:
            return
        specs = []
        for _ in range(size):
            specs.append(serve_small(self._origin, self._group_chance, len(self.specs) + 1))
            self.specs[specs[-1].file.path] = specs[-1]
        given = [{"url": one.file.url, **one.fields} for one in specs]
        requests = [DownloadRequest.model_validate(one) for one in given]
        jobs = tasks.submit_many(requests, runtime=self._runtime)
        pairs = zip(specs, jobs, strict=True)
        self.submissions += [Submission(spec, job.id) for spec, job in pairs]
        self.groups.append(size)

    def _change_mind(self, jobs: dict[str, Job]) -> None:
        """Ask something of one job, as it was a moment ago; it may have moved on since."""
        word = self._chance.choices(["pause", "cancel", "retry"], [5, 3, 3])[0]
        if word == "retry":
            ended = [one for one in self.submissions if one.is_finished and self._is_to_retry(one)]
            if ended:
                self._ask(self._chance.choice(ended), "retry")
            return
        untouched = [one for one in self.unfinished() if one.job_id in jobs and not one.words]
        if untouched:
            self._ask(self._chance.choice(untouched), word)

    def _is_to_retry(self, submission: Submission) -> bool:
        """Once is enough: what failed fails again."""
        return "retry" not in submission.words and (
            submission.spec.error_code is not None or submission.may_be_cancelled
        )

    def _ask(self, submission: Submission, word: str) -> None:
        try:
            job = getattr(tasks, word)(submission.job_id, runtime=self._runtime)
        except IllegalTransitionError:
            return  # it ended, or moved on, before we said it
        except DatabaseUnavailableError:
            # The request may have succeeded all the same.
            submission.words.append(f"{word}?")
            submission.stopped_at, submission.is_finished = None, False
            raise
        submission.words.append(word)
        if word in {"pause", "cancel"}:
            submission.stopped_at = job.fence
            submission.resume_after = time.monotonic() + self._chance.uniform(*RESTS)
        else:
            submission.stopped_at, submission.is_finished = None, False

    def _check_stopped(self, submission: Submission, job: Job) -> None:
        """A job that was asked to stop is not claimed again before it is resumed."""
        if submission.stopped_at is not None and job.fence > submission.stopped_at:
            complaint = f"{submission.words[-1]} at claim {submission.stopped_at}, now {job.fence}"
            self.complaints.append((job.id, complaint))
            submission.stopped_at = None
