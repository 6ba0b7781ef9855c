"""Operations on one job in a transaction of its own: the product does those of many jobs in one."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from database import JobRepository
from database.operations import Claim, ConsumeMessage, Note, Operation, RequeueForSlot
from domain.job import Job, Priority, QueuedJob


def perform(jobs: JobRepository, operation: Operation) -> Any:
    """Perform it, and return its result; raises its own error."""
    (result,) = jobs.perform([operation])
    if isinstance(result, Exception):
        raise result
    return result


def claim(
    jobs: JobRepository,
    job_id: str,
    *,
    worker: str,
    now: datetime,
    priority: Priority | None = None,
) -> Job | None:
    """Claim a queued job, as a worker does; None when it is not queued, or not of that priority."""
    job: Job | None = perform(jobs, Claim(job_id, worker, now, priority))
    return job


def note(jobs: JobRepository, job: Job, reason: str, *, now: datetime) -> bool:
    """Add an event to the history of a job; False when it has a newer claim."""
    is_noted: bool = perform(jobs, Note(job, reason, now))
    return is_noted


def consume_message(jobs: JobRepository, job_id: str, sent_at: datetime | None = None) -> None:
    """Note that the message of a job, by default its newest, was consumed without effect."""
    perform(jobs, ConsumeMessage(job_id, sent_at))


def requeue_for_slots(
    jobs: JobRepository, host: str, user_id: str | None, slots: int, now: datetime
) -> list[QueuedJob]:
    """Queue the jobs that wait for so many free slots of this host and user."""
    requeued = jobs.perform([RequeueForSlot(host, user_id, now)] * slots)
    return [job for some in requeued for job in some]
