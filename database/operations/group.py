"""Runs operations inside a transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from database.job_messages import consume_message, requeue_for_host, requeue_for_user
from database.job_queries import is_storable
from database.job_rows import CLAIM, INSERT_EVENT, NOTE_EVENT, event_row, to_job
from database.operations import (
    Claim,
    ConsumeMessage,
    Note,
    Operation,
    RequeueForSlot,
    Transition,
)
from domain.job import Job, JobStatus, QueuedJob


def perform_all(connection: Connection, operations: Sequence[Operation]) -> list[Any]:
    """Do the operations, in order of job ids; return their results in the given order."""
    results: list[Any] = [None] * len(operations)
    for number in sorted(range(len(operations)), key=lambda one: _position(operations[one])):
        results[number] = _perform(connection, operations[number])
    return results


def _perform(connection: Connection, operation: Operation) -> Any:
    match operation:
        case Claim():
            return claim_job(connection, operation)
        case Transition():
            return operation.change.apply(connection, operation.job)
        case Note():
            return add_note(connection, operation)
        case ConsumeMessage():
            return consume_message(connection, operation.job_id, operation.sent_at)
        case RequeueForSlot():
            return _requeue_for_slot(connection, operation)


def _position(operation: Operation) -> tuple[bool, str]:
    """Return what puts operations in order: rows are locked in order of ids. Requeues are last."""
    match operation:
        case Claim() | ConsumeMessage():
            return False, operation.job_id
        case Transition() | Note():
            return False, operation.job.id
        case RequeueForSlot():
            return True, ""


def claim_job(connection: Connection, claim: Claim) -> Job | None:
    """Do `JobRepository.claim` in a transaction."""
    if not is_storable(claim.job_id):
        return None
    parameters = {
        "b_id": claim.job_id,
        "b_worker": claim.worker,
        "b_now": claim.now,
        "b_priority": None if claim.priority is None else claim.priority.value,
    }
    row = connection.execute(CLAIM, parameters).first()
    if row is None:
        return None
    job = to_job(row)
    event = event_row(job, JobStatus.QUEUED, JobStatus.DOWNLOADING, claim.now, None)
    connection.execute(INSERT_EVENT, event)
    return job


def add_note(connection: Connection, note: Note) -> bool:
    """Do `JobRepository.note` in a transaction."""
    parameters = {
        "b_id": note.job.id,
        "b_fence": note.job.fence,
        "b_now": note.now,
        "b_reason": note.reason,
    }
    return connection.execute(NOTE_EVENT, parameters).first() is not None


def _requeue_for_slot(connection: Connection, slot: RequeueForSlot) -> list[QueuedJob]:
    requeued = requeue_for_host(connection, slot.host, 1, slot.now)
    if slot.user_id is not None:
        requeued += requeue_for_user(connection, slot.user_id, 1, slot.now)
    return requeued
