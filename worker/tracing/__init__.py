"""Traces of jobs, where they are on (SEEN_TRACING); without them every call here does nothing.

The trace of a job follows from its id, and so does its first span: each process that works on the job
adds spans to the same trace, and nothing about it has to travel with messages or be stored
(docs/adr/0087-the-trace-of-a-job-follows-from-its-id.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from domain.job import Job
    from worker.tracing.recorder import Recorder

#: What records spans in this process; None where traces are off.
active: Recorder | None = None

_NOTHING: AbstractContextManager[None] = nullcontext()


def span(name: str, job_id: str, **attributes: object) -> AbstractContextManager[Any]:
    """Return a context that is a span of a job, a child of the present one of this job.

    An exception that leaves it ends the span as an error.
    """
    return _NOTHING if active is None else active.span(name, job_id, attributes)


def note(text: str) -> None:
    """Add an event to the present span."""
    if active is not None:
        active.note(text)


def failed(reason: str | None, code: str | None) -> None:
    """End the present span as an error."""
    if active is not None:
        active.failed(reason, code)


def job_ended(job: Job) -> None:
    """Record that a job is completed, failed or cancelled."""
    if active is not None and job.is_finished:
        active.job_ended(job)


def headers(job_id: str) -> Mapping[str, str]:
    """Return the headers with which a receiver continues the trace of a job."""
    return {} if active is None else active.headers(job_id)
