"""How the run of one message ended."""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    """The result of `run_download`; logged, and Celery's result of the task."""

    COMPLETED = "completed"
    FAILED = "failed"
    WAITING = "waiting"
    PAUSED = "paused"
    CANCELLED = "cancelled"
    REQUEUED = "requeued"
    """This worker drained or lost the job's lock; the job is queued again."""
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
