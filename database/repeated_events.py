"""Requeues that repeat: one event of the history stands for all of them, and counts them.

While the store refuses, a job can be claimed and requeued every second. Each claim raises the fence. The
history keeps the first claim and one requeue, with the newest claim's fence and the number of claims.
The notes in between, that the job's message was published again, are removed.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, select, update

from database.job_rows import EventRow
from database.models import job_events
from domain.history import MESSAGE_NOTES, gives_reason, repetitions_of, with_repetitions
from domain.job import RUNNING, Job, JobStatus

#: A claim, the two notes that may precede it, and a requeue.
_LONGEST = 4
_NEWEST = (
    select(job_events)
    .where(job_events.c.job_id == bindparam("b_id"))
    .order_by(job_events.c.id.desc())
    .limit(_LONGEST)
)


def merge_into_previous(connection: Connection, claimed: Job, event: EventRow, reason: str) -> bool:
    """Count a requeue in the event of the one before it, if nothing else happened in between.

    Args:
        connection: in the transaction that has changed the job's row.
        claimed: the job under the claim that ends.
        event: the row that would be inserted.
        reason: without the part about kept and discarded bytes.

    Returns False, and changes nothing, when the event has to be inserted.
    """
    newest = connection.execute(_NEWEST, {"b_id": claimed.id}).all()
    before = next((one for one in newest[1:] if not _is_message_note(one)), None)
    if before is None or not _is_repeat(newest[0], before, claimed.fence, reason):
        return False
    gone = [one.id for one in newest if one.id > before.id]
    times = repetitions_of(before.reason) + 1
    columns = {
        "at": event.at,
        "fence": event.fence,
        "attempt": event.attempt,
        "reason": with_repetitions(event.reason or "", times),
        "worker": claimed.worker,  # the claim's event names it, and is deleted
    }
    connection.execute(delete(job_events).where(job_events.c.id.in_(gone)))
    connection.execute(update(job_events).where(job_events.c.id == before.id).values(columns))
    return True


def _is_message_note(event: Row[Any]) -> bool:
    is_note = event.from_status == event.to_status == JobStatus.QUEUED.value
    return is_note and event.reason in MESSAGE_NOTES


def _is_repeat(claim: Row[Any], before: Row[Any], fence: int, reason: str) -> bool:
    """Return whether this claim is the newest event, and follows a requeue for the same reason."""
    is_claim = (claim.from_status, claim.to_status, claim.fence) == (
        JobStatus.QUEUED.value,
        JobStatus.DOWNLOADING.value,
        fence,
    )
    is_requeue = before.from_status in RUNNING and before.to_status == JobStatus.QUEUED.value
    follows = before.fence == fence - 1
    return is_claim and is_requeue and follows and gives_reason(before.reason, reason)
