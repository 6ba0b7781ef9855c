"""Answers as JSON, and what a principal sees of a job."""

from __future__ import annotations

from starlette.responses import JSONResponse

from domain.access import Principal, changes
from domain.job import Job
from domain.urls import display_url
from tasks.api.job_json import JobDict, job_as_json
from tasks.api.job_view import JobView


class Json(JSONResponse):
    """An answer that is JSON already: FastAPI does not check it a second time."""


def download_as_json(view: JobView, principal: Principal) -> JobDict:
    """Return a job as a principal sees it: who may not change it sees its URLs without their secrets."""
    shown = job_as_json(view)
    if not changes(principal, view.job):
        job = view.job
        shown["url"] = _masked(job, job.url)
        shown["mirrors"] = [_masked(job, url) for url in job.mirrors]
    return shown


def _masked(job: Job, url: str) -> str:
    return display_url(url, secret=job.secret_url)
