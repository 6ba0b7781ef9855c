"""How the run of one job of a message ended."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Outcome(StrEnum):
    """How one job of a message ended; Celery's result of a task is made of them."""

    COMPLETED = "completed"
    FAILED = "failed"
    WAITING = "waiting"
    PAUSED = "paused"
    CANCELLED = "cancelled"
    REQUEUED = "requeued"
    """This worker drained or lost the job's lock; the job is queued again."""
    PUT_BACK = "put back"
    """No slot was free soon; the job's message is in its queue again, the next to be consumed."""
    ALREADY_RUNNING = "already running"
    """Another worker holds the job's lock; the message did nothing."""
    NOT_QUEUED = "not queued"
    """SQL has nothing to run: the job is finished, waiting, or in another queue."""
    NOT_STARTED = "not started"
    """Store or database did not answer before the claim; the job stays queued."""
    UNSAVED = "unsaved"
    """The database did not answer at the end: the job's state is copied from the progress hash, or it is
    requeued as an orphan."""
    FENCED = "fenced"
    """Another claim has the job, or may have it; this one wrote nothing at its end."""


class JobEnd(NamedTuple):
    """How one job of a message ended, and why: the reason that SQL has, empty without one."""

    job_id: str
    outcome: Outcome
    reason: str = ""
