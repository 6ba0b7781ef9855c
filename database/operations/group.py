"""Does operations inside a transaction: reads and locks their jobs, decides, and writes what is new.

Each of these is one statement for all jobs; writing is one for each set of columns.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from database.changes import claim_columns
from database.job_messages import consume_message
from database.job_queries import is_storable
from database.job_rows import EventRow, event_row, with_columns
from database.operations import (
    Claim,
    ConsumeMessage,
    Note,
    Operation,
    RequeueForSlot,
    Transition,
)
from database.operations.rows import insert_events, lock_jobs, update_jobs
from database.operations.slots import requeue_for_slots
from database.repeated_events import merge_into_previous
from domain.job import RUNNING, Job, JobStatus

#: Operations on one job each, with their positions in the group.
_Round = list[tuple[int, Claim | Transition | Note | ConsumeMessage]]


def perform_all(connection: Connection, operations: Sequence[Operation]) -> list[Any]:
    """Do the operations; return their results, or a ValueError, in the given order."""
    results: list[Any] = [None] * len(operations)
    for some in _rounds(operations):
        written = _Written(_locked(connection, some))
        for position, operation in some:
            results[position] = written.add(operation)
        written.save(connection)
    # Last, since they take the rows that are free, in another order than by id.
    slots = {at: one for at, one in enumerate(operations) if isinstance(one, RequeueForSlot)}
    if slots:
        requeued = requeue_for_slots(connection, list(slots.values()))
        for position, queued in zip(slots, requeued, strict=True):
            results[position] = queued
    return results


def perform_possible(connection: Connection, operations: Sequence[Operation]) -> list[Any]:
    """Do `perform_all` in a transaction that goes on; None for operations that a constraint refuses.

    Raises:
        ValueError: one is not a legal change.
    """
    try:
        with connection.begin_nested():
            results = perform_all(connection, operations)
    except IntegrityError:
        if len(operations) == 1:
            return [None]
    else:
        for mistake in (one for one in results if isinstance(one, ValueError)):
            raise mistake
        return results
    return [perform_possible(connection, [operation])[0] for operation in operations]


def _rounds(operations: Sequence[Operation]) -> Iterator[_Round]:
    """Yield the operations on single jobs: of those on the same job, one at a time."""
    left = [
        (position, operation)
        for position, operation in enumerate(operations)
        if not isinstance(operation, RequeueForSlot) and is_storable(_job_id(operation))
    ]
    while left:
        first: dict[str, tuple[int, Any]] = {}
        later = []
        for one in left:
            if first.setdefault(_job_id(one[1]), one) is not one:
                later.append(one)
        yield list(first.values())
        left = later


def _job_id(operation: Claim | Transition | Note | ConsumeMessage) -> str:
    match operation:
        case Claim() | ConsumeMessage():
            return operation.job_id
        case Transition() | Note():
            return operation.job.id


def _locked(connection: Connection, some: _Round) -> dict[str, Job]:
    claimed, others = {}, []
    for _, operation in some:
        match operation:
            case Transition(job) | Note(job) if job.status in RUNNING:
                claimed[job.id] = job
            case _:
                others.append(_job_id(operation))
    return lock_jobs(connection, claimed, others)


class _Written:
    """What operations on different jobs write, by the jobs as read."""

    def __init__(self, locked: Mapping[str, Job]) -> None:
        self._locked = locked
        self._updates: dict[tuple[str, ...], list[tuple[Any, ...]]] = defaultdict(list)
        self._events: list[EventRow] = []
        self._repeats: list[tuple[Job, EventRow, str]] = []
        self._consumed: list[ConsumeMessage] = []

    def add(self, operation: Claim | Transition | Note | ConsumeMessage) -> Any:
        """Return the operation's result, and keep what it writes."""
        match operation:
            case Claim():
                return self._claim(operation)
            case Transition():
                return self._transition(operation)
            case Note():
                return self._note(operation)
            case ConsumeMessage():
                self._consumed.append(operation)
                return None

    def save(self, connection: Connection) -> None:
        """Write it, the events after the jobs."""
        for names, rows in self._updates.items():
            update_jobs(connection, names, rows)
        for claimed, event, reason in self._repeats:
            if not merge_into_previous(connection, claimed, event, reason):
                self._events.append(event)
        insert_events(connection, self._events)
        for message in self._consumed:
            consume_message(connection, message.job_id, message.sent_at)

    def _claim(self, claim: Claim) -> Job | None:
        row = self._locked.get(claim.job_id)
        if row is None or row.status is not JobStatus.QUEUED:
            return None
        if claim.priority not in {None, row.priority}:
            return None
        job = self._change(row, claim_columns(row, claim.worker, claim.now))
        self._events.append(event_row(job, row.status, claim.now, None))
        return job

    def _transition(self, transition: Transition) -> Job | ValueError | None:
        before, change = transition.job, transition.change
        if mistake := change.mistake(before):
            return mistake
        row = self._locked.get(before.id)
        if row is None or (row.status, row.fence) != (before.status, before.fence):
            return None
        job = self._change(row, change.columns(row))
        event = event_row(job, row.status, change.now, change.event_reason_for(job))
        if change.may_repeat and change.reason is not None and job.status is change.to:
            self._repeats.append((row, event, change.reason))
        else:
            self._events.append(event)
        return job

    def _note(self, note: Note) -> bool:
        row = self._locked.get(note.job.id)
        if row is None or row.fence != note.job.fence:
            return False
        self._events.append(event_row(row, row.status, note.now, note.reason))
        return True

    def _change(self, row: Job, columns: Mapping[str, Any]) -> Job:
        job, different = with_columns(row, columns)
        # An index is written for each of its columns that is set, whether or not the value differs.
        key = (row.id, row.status.value, row.fence)
        self._updates[tuple(different)].append((*different.values(), *key))
        return job
