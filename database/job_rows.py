"""Rows of the job tables: the frequent statements, and the conversion of rows to values and back.

Each statement is built once: building one takes longer than running it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Insert,
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
    or_,
    select,
    update,
)

from database.models import job_events, jobs
from domain.byte_counts import ByteCounts, CountFields
from domain.history import requested
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


INSERT_EVENT = insert(job_events)


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


#: A note under the newest claim alone.
NOTE_EVENT = note_statement(
    (jobs.c.id == bindparam("b_id")) & (jobs.c.fence == bindparam("b_fence"))
).returning(job_events.c.id)

CLAIM = (
    update(jobs)
    .where(
        jobs.c.id == bindparam("b_id"),
        jobs.c.status == JobStatus.QUEUED.value,
        jobs.c.priority == func.coalesce(bindparam("b_priority", type_=String), jobs.c.priority),
    )
    .values(
        status=JobStatus.DOWNLOADING.value,
        fence=jobs.c.fence + 1,
        attempts=jobs.c.attempts + 1,
        worker=bindparam("b_worker"),
        control=None,
        reason=None,
        error_code=None,
        next_attempt_at=None,
        updated_at=bindparam("b_now"),
        started_at=func.coalesce(
            jobs.c.started_at, bindparam("b_now", type_=jobs.c.started_at.type)
        ),
    )
    .returning(*COLUMNS)
)


#: The state that follows from each control request.
CONTROL_TARGETS = {"cancel": JobStatus.CANCELLED, "pause": JobStatus.PAUSED}


@cache
def change_statement(names: tuple[str, ...], to: JobStatus, *, honor: Sequence[str] = ()) -> Update:
    """Return the compare-and-set that sets the columns `names`, and the status to `to`.

    A pending control request among those in `honor` decides the status instead. A job that would be
    paused, but has no pending request any more, is queued: its pause was withdrawn.
    """
    values: dict[str, Any] = {name: bindparam(name, type_=jobs.c[name].type) for name in names}
    values["status"] = to.value
    if honor:
        values |= _apply_control(values, to, honor)
    return (
        update(jobs)
        .where(
            jobs.c.id == bindparam("b_id"),
            jobs.c.status == bindparam("b_source"),
            jobs.c.fence == bindparam("b_fence"),
        )
        .values(values)
        .returning(*COLUMNS)
    )


def _apply_control(
    values: Mapping[str, Any], to: JobStatus, honor: Sequence[str]
) -> dict[str, Any]:
    """Return the columns that depend on the pending control request."""
    control = jobs.c.control
    states = {request: CONTROL_TARGETS[request].value for request in honor}
    reasons = {
        request: values["reason"] if CONTROL_TARGETS[request] is to else requested(request)
        for request in honor
    }
    otherwise: dict[str, Any] = {"status": to.value, "reason": values["reason"]}
    if to is JobStatus.PAUSED:
        otherwise = {"status": JobStatus.QUEUED.value, "reason": None}
    now = bindparam("b_now", type_=jobs.c.finished_at.type)
    durable = values.get("bytes_durable", jobs.c.bytes_durable)
    return {
        "status": case(states, value=control, else_=otherwise["status"]),
        "reason": case(reasons, value=control, else_=otherwise["reason"]),
        "error_code": case((control.in_(honor), None), else_=values["error_code"]),
        "next_attempt_at": case((control.in_(honor), None), else_=values["next_attempt_at"]),
        "finished_at": case((control == "cancel", now), else_=values["finished_at"]),
        # Its part file is removed.
        "bytes_durable": case((control == "cancel", 0), else_=durable),
    }


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


def _queued_job(*conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    """Return the condition for one job by its id, if it is queued and meets all of `conditions`.

    PostgreSQL sees the other conditions as one value, and so finds the row by its id. Otherwise, with
    statistics of a time when few jobs were queued, it may read all queued jobs.
    """
    is_met = and_(jobs.c.status == JobStatus.QUEUED.value, *conditions)
    return (jobs.c.id == bindparam("b_id")) & func.coalesce(is_met, false())


#: A message was sent for a job that is unchanged since, and it is the newest and not consumed yet.
MARK_PUBLISHED = (
    update(jobs)
    .where(
        _queued_job(
            jobs.c.updated_at == bindparam("b_updated_at", type_=jobs.c.updated_at.type),
            jobs.c.published_at.is_(None) | (jobs.c.published_at < _SENT_AT),
            jobs.c.message_consumed_at.is_(None) | (jobs.c.message_consumed_at < _SENT_AT),
        )
    )
    .values(published_at=_SENT_AT, requeued=bindparam("b_requeued", type_=jobs.c.requeued.type))
)

#: A queued job's message was consumed without effect; a newer message stays.
MARK_MESSAGE_CONSUMED = (
    update(jobs)
    .where(
        _queued_job(
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


def to_job(row: Sequence[Any]) -> Job:
    """Read one row of `COLUMNS`."""
    values = dict(zip(FIELDS, row, strict=True))
    values["status"] = JobStatus(values["status"])
    values["priority"] = Priority(values["priority"])
    return Job(**values)


def to_job_event(row: Row[Any]) -> JobEvent:
    """Read one row of `job_events`."""
    values = dict(row._mapping)
    if values["from_status"] is not None:
        values["from_status"] = JobStatus(values["from_status"])
    values["to_status"] = JobStatus(values["to_status"])
    return JobEvent(**values)


def event_row(
    job: Job, source: JobStatus | None, to: JobStatus, at: datetime, reason: str | None
) -> dict[str, Any]:
    """Return the event for a change of `job`, given as it is after the change."""
    return {
        "job_id": job.id,
        "at": at,
        "from_status": None if source is None else source.value,
        "to_status": to.value,
        "worker": job.worker,
        "fence": job.fence,
        "attempt": job.attempts,
        "reason": reason,
    }


def batches(names: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield ids or other keys, as many at a time as one statement may have parameters."""
    for start in range(0, len(names), BATCH):
        yield names[start : start + BATCH]
