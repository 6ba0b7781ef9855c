"""The public Python API (`submit`, `cancel`, …), and Celery's entry points beside it."""

from domain.job import DownloadRequest, Job, JobFilter, JobStatus, Priority, SubmittedJob
from tasks.control import (
    Action,
    Controlled,
    cancel,
    control_many,
    control_matching,
    pause,
    resume,
    retry,
)
from tasks.enqueue import submit, submit_many
from tasks.move import move, move_many, move_matching

__all__ = [
    "Action",
    "Controlled",
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
