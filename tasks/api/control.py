"""Pause, resume, cancel and retry jobs: one, several (`control_many`), or all that fit a filter.

Every action is idempotent. A job that does not run is changed at once. For a running job the request is
stored in SQL, where any change that would let the job continue applies it, and copied to the job's
progress hash, which its worker reads twice a second.

Each function takes this process's runtime unless it is given one. It raises UnknownJobError,
DatabaseUnavailableError, and for one job the errors that `ControlResult.refused` lists for several.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from database import JobRepository
from domain.errors import (
    DuplicateJobError,
    IllegalTransitionError,
    InvalidInputError,
    UnknownJobError,
)
from domain.history import requested
from domain.job import FINISHED, RUNNING, Action, Job, JobFilter, JobStatus
from tasks.api.control_writer import ROUNDS, ControlWriter
from worker.app import current_runtime
from worker.runtime import Runtime

#: Jobs that are changed in one transaction.
BATCH = 500

T = TypeVar("T")

_S = JobStatus
Refusal = IllegalTransitionError | DuplicateJobError


@dataclass(slots=True)
class ControlResult:
    """The result of an action on several jobs; each list is in the order of the arguments."""

    changed: list[Job] = field(default_factory=list)
    """As they are now; a running one has its pending request in `control`."""
    unchanged: list[Job] = field(default_factory=list)
    """They were in the requested state already."""
    refused: list[Refusal] = field(default_factory=list)
    """Their state does not allow the action; each error names the state."""


@dataclass(frozen=True, slots=True)
class _Rule:
    """What an action does with a job in each state.

    Attributes:
        to: the state after the action.
        done: the action as a participle: "paused".
        source_states: the states that are changed at once.
        no_op_states: the states in which there is nothing to do.
        requests: the control request for a running job.
        withdraws: the pending request that is withdrawn from a running job.
        reason: of the event.
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
    """Pause a job until `resume`, and return it; its part file is kept."""
    return _control_one(Action.PAUSE, job_id, runtime)


def resume(job_id: str, *, runtime: Runtime | None = None) -> Job:
    """Queue a paused or waiting job and return it; a pending pause is withdrawn."""
    return _control_one(Action.RESUME, job_id, runtime)


def cancel(job_id: str, *, runtime: Runtime | None = None) -> Job:
    """Cancel a job and return it; its part file is removed.

    A running job is cancelled by its worker within a second or so.
    """
    return _control_one(Action.CANCEL, job_id, runtime)


def retry(job_id: str, *, runtime: Runtime | None = None) -> Job:
    """Queue a failed or cancelled job again, with all its attempts, and return it.

    Raises:
        DuplicateJobError: another unfinished job for the same request exists.
    """
    return _control_one(Action.RETRY, job_id, runtime)


def control_many(
    action: Action, job_ids: Sequence[str], *, runtime: Runtime | None = None
) -> ControlResult:
    """Do an action with several jobs; those whose state does not allow it are listed in the result.

    Raises:
        UnknownJobError: one of them does not exist; nothing was changed.
    """
    runtime = runtime or current_runtime()
    jobs = runtime.jobs
    writer = ControlWriter(jobs, runtime.cache.download, runtime.publisher, runtime.now)
    wanted = list(known_jobs(jobs, job_ids))
    result = ControlResult()
    for start in range(0, len(wanted), BATCH):
        one = _Batch(jobs, writer, _RULES[action], wanted[start : start + BATCH]).run()
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
    """Do an action with all jobs that fit a filter and whose state allows it.

    Jobs that are submitted meanwhile may be left out; jobs without a change are not listed.

    Args:
        action: the action.
        where: the filter.
        runtime: of this process.
        progress: called after each batch with the number of jobs changed so far.

    Raises:
        InvalidInputError: the filter names a state that does not allow the action; nothing was changed.
    """
    runtime = runtime or current_runtime()
    rule = _RULES[action]
    check_status(where, rule.source_states | rule.no_op_states | RUNNING, rule.done)
    jobs = runtime.jobs
    writer = ControlWriter(jobs, runtime.cache.download, runtime.publisher, runtime.now)
    result = ControlResult()
    for page in pages(jobs, where, sorted({*rule.source_states, *RUNNING})):
        one = _Batch(jobs, writer, rule, page).run()
        result.changed += one.changed
        result.refused += one.refused
        progress(len(result.changed))
    return result


def known_jobs(jobs: JobRepository, job_ids: Sequence[str]) -> dict[str, Job]:
    """Return the jobs by id, each once, in the order of `job_ids`.

    Raises:
        UnknownJobError: one of them does not exist.
    """
    found = jobs.get_many(job_ids)
    for job_id in job_ids:
        if job_id not in found:
            raise UnknownJobError(job_id)
    return {job_id: found[job_id] for job_id in job_ids}


def check_status(where: JobFilter, possible: frozenset[JobStatus], done: str) -> None:
    """Raise InvalidInputError if a filter names a state in which no job can be `done`."""
    status = where.status
    if status is not None and status not in possible:
        raise InvalidInputError(
            "status", status.value, f"{status.capitalize()} jobs cannot be {done}."
        )


def pages(
    jobs: JobRepository, where: JobFilter, statuses: Sequence[JobStatus]
) -> Iterator[list[str]]:
    """Yield the ids of all jobs that fit a filter, the newest first, in batches."""
    before: str | None = None
    while page := jobs.find(where, statuses=statuses, before_id=before, limit=BATCH):
        before = page[-1].id
        yield [job.id for job in page]


def _control_one(action: Action, job_id: str, runtime: Runtime | None) -> Job:
    result = control_many(action, [job_id], runtime=runtime)
    if result.refused:
        raise result.refused[0]
    for job in result.changed or result.unchanged:
        return job
    raise UnknownJobError(job_id)  # it was purged at this moment


class _Batch:
    """One action on some jobs, repeated for those that are changed at the same moment."""

    def __init__(
        self, jobs: JobRepository, writer: ControlWriter, rule: _Rule, job_ids: Sequence[str]
    ) -> None:
        self._jobs = jobs
        self._writer = writer
        self._rule = rule
        self._job_ids = job_ids
        self._changed: dict[str, Job] = {}
        self._unchanged: dict[str, Job] = {}
        self._refused: dict[str, Refusal] = {}

    def run(self) -> ControlResult:
        for _ in range(ROUNDS):
            rows = self._jobs.get_many(self._pending())
            if not rows:
                break
            self._apply(list(rows.values()))
        for job in self._jobs.get_many(self._pending()).values():
            self._refuse(job)  # it was changed each time
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

    def _apply(self, jobs: Sequence[Job]) -> None:
        rule = self._rule
        running: list[Job] = []
        others: list[Job] = []
        for job in jobs:
            if job.status in rule.no_op_states:
                self._unchanged[job.id] = job
            elif job.status in RUNNING:
                running.append(job)
            elif job.status in rule.source_states:
                others.append(job)
            else:
                self._refuse(job)
        self._request(running)
        self._transition(others)

    def _refuse(self, job: Job) -> None:
        self._refused[job.id] = IllegalTransitionError(job.id, job.status, self._rule.done)

    def _request(self, jobs: Sequence[Job]) -> None:
        rule = self._rule
        affected = []
        for job in jobs:
            if rule.requests or (job.control is not None and job.control == rule.withdraws):
                affected.append(job)
            else:
                self._unchanged[job.id] = job
        for job in self._writer.request(affected, rule.requests):
            # A pending cancel stays, so the stored request may be another one.
            is_stored = job.control == rule.requests
            (self._changed if is_stored else self._unchanged)[job.id] = job

    def _transition(self, jobs: Sequence[Job]) -> None:
        rule = self._rule
        changed = self._writer.transition(jobs, rule.to, reason=rule.reason, changes=rule.changes)
        self._changed |= {job.id: job for job in changed}
        for job in jobs:
            if job.status in FINISHED and job.id not in self._changed:
                self._refuse_duplicate(job)

    def _refuse_duplicate(self, job: Job) -> None:
        """Refuse to retry a finished job if another job holds its dedup key."""
        duplicate_id = self._jobs.active_duplicate(job)
        if duplicate_id is not None:
            self._refused[job.id] = DuplicateJobError(job.id, duplicate_id)
