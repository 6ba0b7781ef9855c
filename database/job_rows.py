"""Rows of the job tables: the frequent statements, and the conversion of rows to values and back.

Each statement is built once: building one takes longer than running it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from operator import attrgetter
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Insert,
    Integer,
    Row,
    String,
    Update,
    and_,
    bindparam,
    case,
    exists,
    false,
    func,
    insert,
    literal_column,
    or_,
    select,
    update,
)

from database.models import job_events, jobs
from domain.byte_counts import ByteCounts, CountFields
from domain.job import RUNNING, UNFINISHED, Job, JobEvent, JobStatus, Priority

FIELDS = tuple(field.name for field in fields(Job))
COLUMNS = tuple(jobs.c[name] for name in FIELDS)
RUNNING_NAMES = tuple(status.value for status in RUNNING)
UNFINISHED_NAMES = tuple(status.value for status in UNFINISHED)

#: Ids in one statement at most; PostgreSQL takes 65,535 parameters, SQLite 32,766.
BATCH = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressRow:
    """Progress to save; `version` is fence * 2^32 + sequence."""

    job_id: str
    version: int
    counts: ByteCounts
    speed_mbps: float
    reported_at: datetime
    """When the worker last reported: saving alone must not make a job look alive."""


def in_state(*states: JobStatus) -> ColumnElement[bool]:
    """Return whether a job is in one of these states, for queries.

    The states are no parameters: a plan for any parameters would not know how few jobs are in them.
    """
    if len(states) == 1:
        return jobs.c.status == bindparam(None, states[0].value, String, literal_execute=True)
    names = sorted(state.value for state in states)
    return jobs.c.status.in_(bindparam(None, names, String, expanding=True, literal_execute=True))


def limited(number: int) -> ColumnElement[int]:
    """Return a LIMIT that is no parameter: a plan for any number would expect a tenth of the table."""
    return literal_column(str(int(number)), Integer)


def note_statement(which: ColumnElement[bool]) -> Insert:
    """Return the statement that adds an event with `b_reason`, without a change of state.

    It locks the rows first, so that the values which it copies are still true when the event's id, its
    position in the history, is drawn.
    """
    columns = ["job_id", "at", "from_status", "to_status", "worker", "fence", "attempt", "reason"]
    return insert(job_events).from_select(
        columns,
        select(
            jobs.c.id,
            bindparam("b_now", type_=job_events.c.at.type),
            jobs.c.status,
            jobs.c.status,
            jobs.c.worker,
            jobs.c.fence,
            jobs.c.attempts,
            bindparam("b_reason", type_=job_events.c.reason.type),
        )
        .where(which)
        .order_by(jobs.c.id)
        .with_for_update(),
    )


def is_newest_note(reason: str) -> ColumnElement[bool]:
    """Return whether a job's newest event is this note, in the job's present state and claim."""
    event, other = job_events.alias(), job_events.alias()
    newest = select(func.max(other.c.id)).where(other.c.job_id == jobs.c.id).correlate(jobs)
    return (
        exists()
        .where(
            event.c.id == newest.scalar_subquery(),
            event.c.reason == reason,
            event.c.from_status == jobs.c.status,
            event.c.to_status == jobs.c.status,
            event.c.fence == jobs.c.fence,
        )
        .correlate(jobs)
    )


#: A control request for a running job; a pending cancel stays.
REQUEST_CONTROL = (
    update(jobs)
    .where(
        jobs.c.id == bindparam("b_id"),
        jobs.c.fence == bindparam("b_fence"),
        jobs.c.status.in_(RUNNING_NAMES),
    )
    .values(
        control=case(
            (jobs.c.control == "cancel", "cancel"),
            else_=bindparam("b_control", type_=jobs.c.control.type),
        )
    )
    .returning(*COLUMNS)
)


#: Another priority for an unfinished job; a queued one has no message in its new queue yet.
MOVE = (
    update(jobs)
    .where(
        jobs.c.id == bindparam("b_id"),
        jobs.c.status.in_(UNFINISHED_NAMES),
        jobs.c.priority != bindparam("b_priority", type_=jobs.c.priority.type),
    )
    .values(
        priority=bindparam("b_priority", type_=jobs.c.priority.type),
        published_at=case((jobs.c.status != JobStatus.QUEUED.value, jobs.c.published_at)),
        # A caller that is publishing it to its old queue must not mark it as published after this.
        updated_at=case(
            (
                jobs.c.status == JobStatus.QUEUED.value,
                bindparam("b_now", type_=jobs.c.updated_at.type),
            ),
            else_=jobs.c.updated_at,
        ),
    )
    .returning(*COLUMNS)
)

_SENT_AT = bindparam("b_sent_at", type_=jobs.c.published_at.type)


_B_ID = jobs.c.id == bindparam("b_id")
#: Expanded to as many parameters as there are ids, `BATCH` at most.
_IN_B_IDS = jobs.c.id.in_(bindparam("b_ids", expanding=True))


def _queued(which: ColumnElement[bool], *conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    """Return the condition for jobs by their ids, if they are queued and meet all of `conditions`.

    PostgreSQL sees the other conditions as one value, and so finds the row by its id. Otherwise, with
    statistics of a time when few jobs were queued, it may read all queued jobs.
    """
    is_met = and_(jobs.c.status == JobStatus.QUEUED.value, *conditions)
    return which & func.coalesce(is_met, false())


def _mark_published(which: ColumnElement[bool]) -> Update:
    return (
        update(jobs)
        .where(
            _queued(
                which,
                jobs.c.updated_at == bindparam("b_updated_at", type_=jobs.c.updated_at.type),
                jobs.c.published_at.is_(None) | (jobs.c.published_at < _SENT_AT),
                jobs.c.message_consumed_at.is_(None) | (jobs.c.message_consumed_at < _SENT_AT),
            )
        )
        .values(published_at=_SENT_AT, requeued=bindparam("b_requeued", type_=jobs.c.requeued.type))
    )


#: A message was sent for a job that is unchanged since, and it is the newest and not consumed yet.
MARK_PUBLISHED = _mark_published(_B_ID)
#: The same for several jobs of one `updated_at`, that are locked already.
MARK_ALL_PUBLISHED = _mark_published(_IN_B_IDS)
#: Locks rows in order of their ids, so that two transactions with the same rows wait for each other at
#: the first one alone. SQLite has no such locks.
LOCK_IN_ORDER = select(func.count()).select_from(
    select(jobs.c.id)
    .where(_IN_B_IDS)
    .order_by(jobs.c.id)
    .with_for_update(key_share=True)
    .subquery()
)

#: A queued job's message was consumed without effect; a newer message stays.
MARK_MESSAGE_CONSUMED = (
    update(jobs)
    .where(
        _queued(
            _B_ID,
            jobs.c.published_at.is_(None) | (jobs.c.published_at <= _SENT_AT),
            jobs.c.message_consumed_at.is_(None) | (jobs.c.message_consumed_at < _SENT_AT),
        )
    )
    .values(published_at=None, message_consumed_at=_SENT_AT)
)

SAVE_PROGRESS = (
    update(jobs)
    .where(
        jobs.c.id == bindparam("b_id"),
        jobs.c.progress_version < bindparam("b_version"),
        jobs.c.fence == bindparam("b_claim"),
        # Not IN: it expands its list for each execution, which executemany cannot do.
        or_(*(jobs.c.status == status for status in RUNNING_NAMES)),
    )
    .values(
        {
            name: bindparam(name)
            for name in (
                *CountFields.__annotations__,
                "speed_mbps",
                "progress_version",
                "updated_at",
            )
        }
    )
)


_POSITIONS = {name: position for position, name in enumerate(FIELDS)}
_STATUS, _PRIORITY = _POSITIONS["status"], _POSITIONS["priority"]
#: Sets the fields of a job in their order. `Job(...)` takes twice as long, since it is frozen.
_SET_FIELDS = tuple(getattr(Job, name).__set__ for name in FIELDS)
_values_of = attrgetter(*FIELDS)
_STATUSES = {status.value: status for status in JobStatus}
_PRIORITIES = {priority.value: priority for priority in Priority}


def to_job(row: Sequence[Any]) -> Job:
    """Read one row of `COLUMNS`."""
    values = list(row)
    values[_STATUS] = _STATUSES[values[_STATUS]]
    values[_PRIORITY] = _PRIORITIES[values[_PRIORITY]]
    return _new_job(values)


def with_columns(job: Job, columns: Mapping[str, Any]) -> tuple[Job, dict[str, Any]]:
    """Return the job with other values of some columns, and those of them that differ."""
    values = list(_values_of(job))
    different = {}
    for name, value in columns.items():
        position = _POSITIONS[name]
        if values[position] != value:
            values[position] = different[name] = value
    return (_new_job(values) if different else job), different


def _new_job(values: Sequence[Any]) -> Job:
    job = object.__new__(Job)
    for set_field, value in zip(_SET_FIELDS, values, strict=True):
        set_field(job, value)
    return job


def to_job_event(row: Row[Any]) -> JobEvent:
    """Read one row of `job_events`."""
    values = dict(row._mapping)
    if values["from_status"] is not None:
        values["from_status"] = JobStatus(values["from_status"])
    values["to_status"] = JobStatus(values["to_status"])
    return JobEvent(**values)


class EventRow(NamedTuple):
    """A new row of `job_events`."""

    job_id: str
    at: datetime
    from_status: str | None
    to_status: str
    worker: str | None
    fence: int
    attempt: int
    reason: str | None


def event_row(job: Job, source: JobStatus | None, at: datetime, reason: str | None) -> EventRow:
    """Return the event for a change of `job`, given as it is after the change."""
    before = None if source is None else source.value
    states = (before, job.status.value)
    return EventRow(job.id, at, *states, job.worker, job.fence, job.attempts, reason)


def batches(names: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield ids or other keys, as many at a time as one statement may have parameters."""
    for start in range(0, len(names), BATCH):
        yield names[start : start + BATCH]
