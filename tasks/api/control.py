"""What people do with jobs that are there: pause, resume, cancel, retry.

For one job (`pause`), for several (`control_many`) and for all that fit a filter (`control_matching`).
Everything may be done twice: a job that is as wanted already stays so.

A job that runs is asked: SQL keeps the wish, which goes before everything its worker writes later, and a
field of its progress hash tells the worker, within half a second or so. All others are changed at once.

Each function takes the process's own runtime unless it is given one, and raises UnknownJobError,
DatabaseUnavailableError, and for one job what `ControlResult.refused` lists for several.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TypeVar

from domain.errors import (
    DuplicateJobError,
    IllegalTransitionError,
    InvalidInputError,
    StoreError,
    UnknownJobError,
)
from domain.history import requested
from domain.job import FINISHED, RUNNING, Job, JobFilter, JobStatus
from worker.app import current_runtime
from worker.runtime import Runtime

logger = logging.getLogger(__name__)

#: Jobs that are changed in one transaction.
BATCH = 500
#: A job that others move at the same moment is looked at again; two parties settle in a few rounds.
_ROUNDS = 20

T = TypeVar("T")

_S = JobStatus
Refusal = IllegalTransitionError | DuplicateJobError


class Action(StrEnum):
    """What can be done with jobs."""

    PAUSE = "pause"
    """Stop until it is resumed; the part file is kept, and no attempt is used up."""
    RESUME = "resume"
    """Let a paused job go on, and one that waits for its next attempt do so at once."""
    CANCEL = "cancel"
    """Stop for good; the part file is removed."""
    RETRY = "retry"
    """Queue a failed or cancelled job again, with all its attempts."""


@dataclass(slots=True)
class ControlResult:
    """What came of an action on several jobs, each list in the order in which they were named."""

    changed: list[Job] = field(default_factory=list)
    """As they are now; `control` tells what a running one was asked to do."""
    unchanged: list[Job] = field(default_factory=list)
    """They were as wanted already."""
    refused: list[Refusal] = field(default_factory=list)
    """Their state does not allow it; each error says which that is."""


@dataclass(frozen=True, slots=True)
class _Rule:
    """How an action treats a job in each state.

    Attributes:
        to: what becomes of it.
        done: the same as a person says it: "paused".
        source_states: the states in which it is changed at once.
        no_op_states: the states in which there is nothing to do.
        requests: what a running one is asked, as its `control` has it.
        withdraws: what was asked of a running one, and is not wanted any more.
        reason: for its history.
        changes: further columns to set.
    """

    to: JobStatus
    done: str
    source_states: frozenset[JobStatus]
    no_op_states: frozenset[JobStatus]
    reason: str
    requests: str | None = None
    withdraws: str | None = None
    changes: Mapping[str, object] = field(default_factory=dict)


_RULES = {
    Action.PAUSE: _Rule(
        to=_S.PAUSED,
        done="paused",
        source_states=frozenset({_S.QUEUED, _S.WAITING}),
        no_op_states=frozenset({_S.PAUSED}),
        requests="pause",
        reason=requested("pause"),
    ),
    Action.CANCEL: _Rule(
        to=_S.CANCELLED,
        done="cancelled",
        source_states=frozenset({_S.QUEUED, _S.WAITING, _S.PAUSED}),
        no_op_states=frozenset({_S.CANCELLED}),
        requests="cancel",
        reason=requested("cancel"),
    ),
    Action.RESUME: _Rule(
        to=_S.QUEUED,
        done="resumed",
        source_states=frozenset({_S.PAUSED, _S.WAITING}),
        no_op_states=frozenset({_S.QUEUED}),
        withdraws="pause",
        reason="it was resumed",
    ),
    Action.RETRY: _Rule(
        to=_S.QUEUED,
        done="retried",
        source_states=frozenset({_S.FAILED, _S.CANCELLED}),
        no_op_states=frozenset({_S.QUEUED, _S.WAITING}),
        reason="it was retried",
        changes={"attempts": 0},
    ),
}


def pause(job_id: str, *, runtime: Runtime | None = None) -> Job:
    """Stop a job until `resume`, and return it; its part file is kept."""
    return _control_one(Action.PAUSE, job_id, runtime)


def resume(job_id: str, *, runtime: Runtime | None = None) -> Job:
    """Let a paused job go on and return it; a pause that has not come yet is taken back."""
    return _control_one(Action.RESUME, job_id, runtime)


def cancel(job_id: str, *, runtime: Runtime | None = None) -> Job:
    """Stop a job for good and return it; its part file is removed.

    A running job is asked to stop and is cancelled within a second or so.
    """
    return _control_one(Action.CANCEL, job_id, runtime)


def retry(job_id: str, *, runtime: Runtime | None = None) -> Job:
    """Queue a failed or cancelled job again, with all its attempts, and return it.

    Raises:
        DuplicateJobError: another job that asks for the same is alive.
    """
    return _control_one(Action.RETRY, job_id, runtime)


def control_many(
    action: Action, job_ids: Sequence[str], *, runtime: Runtime | None = None
) -> ControlResult:
    """Do something with several jobs; those that it cannot be done with do not keep it from others.

    Raises:
        UnknownJobError: one of them is not there; nothing was changed.
    """
    runtime = runtime or current_runtime()
    wanted = list(known_jobs(runtime, job_ids))
    result = ControlResult()
    for start in range(0, len(wanted), BATCH):
        one = _Batch(runtime, _RULES[action], wanted[start : start + BATCH]).run()
        result.changed += one.changed
        result.unchanged += one.unchanged
        result.refused += one.refused
    return result


def control_matching(
    action: Action,
    where: JobFilter,
    *,
    runtime: Runtime | None = None,
    progress: Callable[[int], None] = lambda _count: None,
) -> ControlResult:
    """Do something with all jobs that fit a filter and are in a state in which it makes sense.

    Jobs that are submitted meanwhile are left alone, and so are those that were as wanted already.

    Args:
        action: what to do.
        where: with whose jobs.
        runtime: of this process.
        progress: called after each batch with the number of jobs changed so far.

    Raises:
        InvalidInputError: the filter names a state in which it makes no sense; nothing was changed.
    """
    runtime = runtime or current_runtime()
    rule = _RULES[action]
    check_status(where, rule.source_states | rule.no_op_states | RUNNING, rule.done)
    result = ControlResult()
    for page in pages(runtime, where, sorted({*rule.source_states, *RUNNING})):
        one = _Batch(runtime, rule, page).run()
        result.changed += one.changed
        result.refused += one.refused
        progress(len(result.changed))
    return result


def known_jobs(runtime: Runtime, job_ids: Sequence[str]) -> dict[str, Job]:
    """Return the jobs that are named, each once, in the order in which they were named.

    Raises:
        UnknownJobError: one of them is not there.
    """
    found = runtime.jobs.get_many(job_ids)
    for job_id in job_ids:
        if job_id not in found:
            raise UnknownJobError(job_id)
    return {job_id: found[job_id] for job_id in job_ids}


def check_status(where: JobFilter, possible: frozenset[JobStatus], done: str) -> None:
    """Raise InvalidInputError if jobs in the state that a filter names cannot be `done` at all."""
    status = where.status
    if status is not None and status not in possible:
        raise InvalidInputError(
            "status", status.value, f"{status.capitalize()} jobs cannot be {done}."
        )


def pages(runtime: Runtime, where: JobFilter, statuses: Sequence[JobStatus]) -> Iterator[list[str]]:
    """Yield the ids of all jobs that fit, the newest first, in batches."""
    before: str | None = None
    while jobs := runtime.jobs.find(where, statuses=statuses, before_id=before, limit=BATCH):
        before = jobs[-1].id
        yield [job.id for job in jobs]


def _control_one(action: Action, job_id: str, runtime: Runtime | None) -> Job:
    result = control_many(action, [job_id], runtime=runtime)
    if result.refused:
        raise result.refused[0]
    for job in result.changed or result.unchanged:
        return job
    raise UnknownJobError(job_id)  # it ended long ago, and was removed at this moment


class _Batch:
    """One action on some jobs, as often as it takes while others change them, too."""

    def __init__(self, runtime: Runtime, rule: _Rule, job_ids: Sequence[str]) -> None:
        self._runtime = runtime
        self._rule = rule
        self._job_ids = job_ids
        self._changed: dict[str, Job] = {}
        self._unchanged: dict[str, Job] = {}
        self._refused: dict[str, Refusal] = {}

    def run(self) -> ControlResult:
        for _ in range(_ROUNDS):
            rows = self._runtime.jobs.get_many(self._pending())
            if not rows:
                break
            self._take(list(rows.values()))
        for job in self._runtime.jobs.get_many(self._pending()).values():
            self._refuse(job)  # it never stood still
        return ControlResult(
            changed=self._in_order(self._changed),
            unchanged=self._in_order(self._unchanged),
            refused=self._in_order(self._refused),
        )

    def _pending(self) -> list[str]:
        done = self._changed.keys() | self._unchanged.keys() | self._refused.keys()
        return [job_id for job_id in self._job_ids if job_id not in done]

    def _in_order(self, found: Mapping[str, T]) -> list[T]:
        return [found[job_id] for job_id in self._job_ids if job_id in found]

    def _take(self, jobs: Sequence[Job]) -> None:
        rule = self._rule
        asked: list[Job] = []
        moved: list[Job] = []
        for job in jobs:
            if job.status in rule.no_op_states:
                self._unchanged[job.id] = job
            elif job.status in RUNNING:
                self._ask_or_leave(job, asked)
            elif job.status in rule.source_states:
                moved.append(job)
            else:
                self._refuse(job)
        self._ask(asked)
        self._move(moved)

    def _refuse(self, job: Job) -> None:
        self._refused[job.id] = IllegalTransitionError(job.id, job.status, self._rule.done)

    def _ask_or_leave(self, job: Job, asked: list[Job]) -> None:
        rule = self._rule
        if rule.requests is not None or (job.control is not None and job.control == rule.withdraws):
            asked.append(job)
        else:
            self._unchanged[job.id] = job

    def _ask(self, jobs: Sequence[Job]) -> None:
        """Note the wish in SQL, then tell the workers what SQL says by now."""
        asked = self._runtime.jobs.request_control(jobs, self._rule.requests)
        for job in asked:
            # It is not as wanted where somebody has cancelled it meanwhile: nothing overrules that.
            as_wanted = job.control == self._rule.requests
            (self._changed if as_wanted else self._unchanged)[job.id] = job
        try:
            self._tell(asked)
        except StoreError as error:
            logger.warning("%d jobs hear of it when the store is back: %s", len(asked), error)

    def _tell(self, jobs: Sequence[Job]) -> None:
        """Bring the wishes on running jobs to the store, until it has those that SQL has.

        Of two callers, the first in SQL may be the last in the store. So each looks at SQL once more
        when the store has its word: whoever comes last in the store brings what SQL says.
        """
        untold = list(jobs)
        for _ in range(_ROUNDS):
            if not untold:
                return
            self._tell_once(untold)
            now = self._runtime.jobs.get_many([job.id for job in untold])
            untold = [now[job.id] for job in untold if _wants_else(now.get(job.id), job)]

    def _tell_once(self, jobs: Sequence[Job]) -> None:
        download = self._runtime.cache.download
        claims: dict[str | None, list[tuple[str, int]]] = {}
        for job in jobs:
            claims.setdefault(job.control, []).append((job.id, job.fence))
        for word, some in claims.items():
            if word is None:
                download.withdraw_control(some)
            else:
                download.request_control_many(word, some)

    def _move(self, jobs: Sequence[Job]) -> None:
        runtime, rule = self._runtime, self._rule
        moved = runtime.jobs.transition_many(
            jobs, rule.to, now=runtime.now(), reason=rule.reason, changes=rule.changes
        )
        if rule.to is _S.CANCELLED:
            runtime.publisher.publish_cleanup([job for job in moved if job.fence > 0])
        elif rule.to is _S.QUEUED:
            sent_at = runtime.publisher.publish(moved)
            moved = [replace(job, published_at=sent_at) for job in moved]
        self._changed |= {job.id: job for job in moved}
        for job in jobs:
            if job.status in FINISHED and job.id not in self._changed:
                self._refuse_duplicate(job)

    def _refuse_duplicate(self, job: Job) -> None:
        """A job that has ended can only be kept from beginning anew by another one that lives."""
        duplicate_id = self._runtime.jobs.active_duplicate(job)
        if duplicate_id is not None:
            self._refused[job.id] = DuplicateJobError(job.id, duplicate_id)


def _wants_else(now: Job | None, told: Job) -> bool:
    """Say whether something else is wanted by now of a claim that was told something."""
    return now is not None and now.fence == told.fence and now.control != told.control
