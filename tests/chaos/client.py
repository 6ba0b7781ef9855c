"""Who uses the system while it is broken: submits without pause, and changes its mind now and then."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field

import tasks
from domain.errors import DatabaseUnavailableError, IllegalTransitionError
from domain.job import FINISHED, DownloadRequest, Job, JobStatus
from tests.chaos.background import Background
from tests.chaos.file_specs import Ware, serve
from tests.support.origins.origin import Origin
from worker.runtime import Runtime

#: Jobs that are under way at any moment.
UNFINISHED = 24
#: Seconds between two looks at them.
LOOK = 0.3
#: Seconds between two changes of mind.
MOODS = (0.5, 2.0)
#: Seconds for which a paused job stays so.
RESTS = (0.5, 3.0)


@dataclass
class Order:
    """One accepted job, and what else was asked of it."""

    ware: Ware
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

    Attributes:
        orders: what was accepted.
        wares: what was asked for, accepted or not, by its path at the origin.
        complaints: what the client saw and should not have.
        refusals: how often the database was away.
    """

    def __init__(self, runtime: Runtime, origin: Origin, seed: int) -> None:
        super().__init__("chaos-client", LOOK)
        self._runtime, self._origin = runtime, origin
        self._chance = random.Random(f"client of {seed}")
        self._chance_of_wares = random.Random(f"wares of {seed}")
        self._next_mood = 0.0
        self.orders: list[Order] = []
        self.wares: dict[str, Ware] = {}
        self.complaints: list[tuple[str, str]] = []
        self.refusals = 0

    def unfinished(self) -> list[Order]:
        """Return the orders that were not finished at the last look."""
        return [order for order in self.orders if not order.is_finished]

    def look(self) -> dict[str, Job]:
        """Note what has finished, resume what has rested, return the jobs under way."""
        orders = {order.job_id: order for order in self.unfinished()}
        jobs = self._runtime.jobs.get_many(list(orders))
        for job_id, order in orders.items():
            job = jobs.get(job_id)
            if job is None:
                self.complaints.append((job_id, "an accepted job is not in the database"))
                order.is_finished = True
                continue
            self._check_stopped(order, job)
            order.is_finished = job.status in FINISHED
            if job.status is JobStatus.PAUSED and time.monotonic() >= (order.resume_after or 0):
                self._ask(order, "resume")
        return jobs

    def fill_up(self) -> None:
        """Submit until as many jobs as usual are under way."""
        for _ in range(UNFINISHED - len(self.unfinished())):
            self._submit()

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
        ware = serve(self._origin, self._chance_of_wares, len(self.wares) + 1)
        self.wares[ware.file.path] = ware
        request = DownloadRequest.model_validate({"url": ware.file.url, **ware.fields})
        job = tasks.submit(request, runtime=self._runtime)
        self.orders.append(Order(ware, job.id))

    def _change_mind(self, jobs: dict[str, Job]) -> None:
        """Ask something of one job, as it was a moment ago; it may have moved on since."""
        word = self._chance.choices(["pause", "cancel", "retry"], [5, 3, 3])[0]
        if word == "retry":
            ended = [one for one in self.orders if one.is_finished and self._is_to_retry(one)]
            if ended:
                self._ask(self._chance.choice(ended), "retry")
            return
        untouched = [one for one in self.unfinished() if one.job_id in jobs and not one.words]
        if untouched:
            self._ask(self._chance.choice(untouched), word)

    def _is_to_retry(self, order: Order) -> bool:
        """Once is enough: what failed fails again."""
        return "retry" not in order.words and (
            order.ware.error_code is not None or order.may_be_cancelled
        )

    def _ask(self, order: Order, word: str) -> None:
        try:
            job = getattr(tasks, word)(order.job_id, runtime=self._runtime)
        except IllegalTransitionError:
            return  # it ended, or moved on, before we said it
        except DatabaseUnavailableError:
            # It may have been heard all the same.
            order.words.append(f"{word}?")
            order.stopped_at, order.is_finished = None, False
            raise
        order.words.append(word)
        if word in {"pause", "cancel"}:
            order.stopped_at = job.fence
            order.resume_after = time.monotonic() + self._chance.uniform(*RESTS)
        else:
            order.stopped_at, order.is_finished = None, False

    def _check_stopped(self, order: Order, job: Job) -> None:
        """A job that was asked to stop is not begun again until somebody wants it to go on."""
        if order.stopped_at is not None and job.fence > order.stopped_at:
            self.complaints.append(
                (
                    job.id,
                    f"asked to {order.words[-1]} at claim {order.stopped_at}, it has claim {job.fence}",
                )
            )
            order.stopped_at = None
