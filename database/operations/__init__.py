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
    """Claim a queued job for one worker and raise its fence.

    Its result is the claimed job, or None when it is not queued. With a `priority`, a job that was moved
    to another one is not claimed.
    """

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
    """Add an event to a history without a change of state.

    Its result is False, and nothing is written, when the job has a newer claim.
    """

    job: Job
    reason: str
    now: datetime


@dataclass(frozen=True, slots=True)
class ConsumeMessage:
    """A queued job's message was consumed without effect, so that the job gets another one.

    This holds also where the message's sender calls `JobRepository.mark_published` only afterwards. A
    job with a newer message is left as it is. The result is None.
    """

    job_id: str
    sent_at: datetime | None = None
    """The time that the message carries; None stands for the newest message."""


@dataclass(frozen=True, slots=True)
class RequeueForSlot:
    """A slot of this host, of this user, and of all downloads is free: queue the job whose turn it is.

    Its result is the list of requeued jobs (`QueuedJob`), to be published. Several operations of a group
    requeue different jobs, as many as there are free slots.
    """

    host: str | None
    user_id: str | None
    now: datetime


Operation = Claim | Transition | Note | ConsumeMessage | RequeueForSlot
