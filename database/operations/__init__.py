"""What callers write about single jobs, as values: `JobRepository.perform` runs several at once.

`Operation` is any of them. `perform` returns for each its result, or the exception that is its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from database.changes import Change
from domain.job import Job, Priority


@dataclass(frozen=True, slots=True)
class Claim:
    """`JobRepository.claim`; its result is the claimed job, or None when it is not queued."""

    job_id: str
    worker: str
    now: datetime
    priority: Priority | None = None


@dataclass(frozen=True, slots=True)
class Transition:
    """`JobRepository.transition`; its result is the changed job, or None when it is not as given.

    Its own errors are ValueError for a change that is not legal, and DuplicateJobError.
    """

    job: Job
    change: Change


@dataclass(frozen=True, slots=True)
class Note:
    """`JobRepository.note`; its result is False when the job has a newer claim."""

    job: Job
    reason: str
    now: datetime


@dataclass(frozen=True, slots=True)
class ConsumeMessage:
    """`JobRepository.mark_message_consumed`; its result is None."""

    job_id: str
    sent_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class RequeueForSlot:
    """A slot of this host, and of this user, became free: queue for each the job that waits longest.

    Its result is the list of requeued jobs (`QueuedJob`), to be published. Several operations of a group
    requeue different jobs, as many as there are free slots.
    """

    host: str
    user_id: str | None
    now: datetime


Operation = Claim | Transition | Note | ConsumeMessage | RequeueForSlot
