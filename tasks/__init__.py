"""The public Python API (`submit`, `cancel`, `show`, …), and Celery's entry points beside it.

Open `api/submit.py` first; `downloads.py` and `periodic/` are what Celery runs.
"""

import seen_modules

seen_modules.claim(__name__)

from importlib import import_module
from typing import TYPE_CHECKING

from domain.job import Action, Job, JobEvent, JobFilter, JobStatus, Order, Priority, SubmittedJob
from domain.request import DownloadRequest
from tasks.api.job_json import EventDict, JobDict, event_as_json, job_as_json
from tasks.api.job_page import JobList, JobListPage, Totals, list_page, totals
from tasks.api.job_view import JobReader, JobView, WaitingFor, history, list_jobs, show

if TYPE_CHECKING:
    from tasks.api.control import (
        ControlResult,
        cancel,
        control_many,
        control_matching,
        pause,
        resume,
        retry,
    )
    from tasks.api.move import move, move_many, move_matching
    from tasks.api.remove import RemoveResult, remove, remove_many, remove_matching
    from tasks.api.submit import submit, submit_many

__all__ = [
    "Action",
    "ControlResult",
    "DownloadRequest",
    "EventDict",
    "Job",
    "JobDict",
    "JobEvent",
    "JobFilter",
    "JobList",
    "JobListPage",
    "JobReader",
    "JobStatus",
    "JobView",
    "Order",
    "Priority",
    "RemoveResult",
    "SubmittedJob",
    "Totals",
    "WaitingFor",
    "cancel",
    "control_many",
    "control_matching",
    "event_as_json",
    "history",
    "job_as_json",
    "list_jobs",
    "list_page",
    "move",
    "move_many",
    "move_matching",
    "pause",
    "remove",
    "remove_many",
    "remove_matching",
    "resume",
    "retry",
    "show",
    "submit",
    "submit_many",
    "totals",
]

#: These modules load Celery; `seen list` and other readers do not need it.
_LOADED_ON_USE = ("tasks.api.submit", "tasks.api.control", "tasks.api.move", "tasks.api.remove")


def __getattr__(name: str) -> object:
    if name in __all__:
        for module in map(import_module, _LOADED_ON_USE):
            if hasattr(module, name):
                globals()[name] = getattr(module, name)
                return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
