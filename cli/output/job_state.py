"""The state of a job as text, ``downloading`` or ``waiting for a slot at example.org``."""

from __future__ import annotations

from datetime import UTC, datetime

from cli.output import formatting
from domain.job import Job
from domain.text import printable
from tasks.api.job_view import JobView, WaitingFor


def state(view: JobView, now: datetime | None = None) -> str:
    """Return the state of a job; of a waiting one, what it waits for."""
    if view.waiting_for is not None:
        return waiting(view, view.waiting_for, now or datetime.now(UTC))
    if view.has_silent_disk:
        return f"disk does not answer{_control(view.job)}"
    return state_and_control(view.job) if view.job.status is view.status else view.status.value


def state_and_control(job: Job) -> str:
    """Return the state and the pending control request: ``downloading (pause requested)``."""
    return job.status.value + _control(job)


def _control(job: Job) -> str:
    return f" ({job.control} requested)" if job.control else ""


def waiting(view: JobView, reason: WaitingFor, now: datetime) -> str:
    """Return what a waiting job waits for, and when it is tried again where only time helps."""
    job, due = view.job, view.job.next_attempt_at
    seconds = 0.0 if due is None else (due - now).total_seconds()
    match reason:
        case WaitingFor.HOST_SLOT:
            return f"waiting for a slot at {printable(job.host or 'its host')}"
        case WaitingFor.USER_SLOT:
            return f"waiting for a slot for {_owner(job)}"
        case WaitingFor.TOTAL_SLOT:
            return "waiting for a slot of all downloads"
        case WaitingFor.HOST_COOLDOWN:
            return f"cooldown of {printable(job.host or 'its host')}, {_in(seconds)}"
        case WaitingFor.DISK_SPACE:
            return "disk full"
        case WaitingFor.DISK:
            return "disk unavailable"
        case WaitingFor.PART_FILE:
            return "part file in use"
        case WaitingFor.WORKER_RESOURCES:
            return "worker out of resources"
        case WaitingFor.RETRY:
            return f"retrying {_in(seconds)}"


def _owner(job: Job) -> str:
    return "its owner" if job.user_id is None else f"user {printable(job.user_id)}"


def _in(seconds: float) -> str:
    return f"in {formatting.duration(seconds)}" if seconds > 0 else "now"
