"""The public Python API (`submit`, `cancel`, …), and Celery's entry points beside it."""

from domain.job import DownloadRequest, Job, JobStatus
from tasks.enqueue import cancel, pause, resume, retry, submit, submit_many

__all__ = [
    "DownloadRequest",
    "Job",
    "JobStatus",
    "cancel",
    "pause",
    "resume",
    "retry",
    "submit",
    "submit_many",
]
