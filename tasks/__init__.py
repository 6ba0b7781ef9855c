"""The public Python API (`submit`, `cancel`, …), and Celery's entry points beside it."""

from domain.job import DownloadRequest, Job, JobFilter, JobStatus, Priority, SubmittedJob
from tasks.api.control import (
    Action,
    ControlResult,
    cancel,
    control_many,
    control_matching,
    pause,
    resume,
    retry,
)
from tasks.api.move import move, move_many, move_matching
from tasks.api.submit import submit, submit_many

__all__ = [
    "Action",
    "ControlResult",
    "DownloadRequest",
    "Job",
    "JobFilter",
    "JobStatus",
    "Priority",
    "SubmittedJob",
    "cancel",
    "control_many",
    "control_matching",
    "move",
    "move_many",
    "move_matching",
    "pause",
    "resume",
    "retry",
    "submit",
    "submit_many",
]
