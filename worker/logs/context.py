"""What a log record belongs to: the job that this code works on now.

All jobs of a process run on one event loop, and some of their work in threads. A task of the loop has
its own job; a callback of the loop is for all jobs, and has none. A thread gets the job with its call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import NamedTuple, TypeVar

R = TypeVar("R")


class JobContext(NamedTuple):
    """The job of a task or thread.

    Attributes:
        job_id: its id.
        fence: of the claim; None before it.
        user: its owner; None without one.
    """

    job_id: str
    fence: int | None = None
    user: str | None = None


_current: ContextVar[JobContext | None] = ContextVar("job", default=None)
#: Set once, when this process uses a format that shows it.
_is_shown = False


def no_trace(_job_id: object) -> Mapping[str, str]:
    """Return nothing: traces are off."""
    return {}


#: Returns the trace and the span of a record, which may belong to a job; set where traces are on.
trace_ids: Callable[[object], Mapping[str, str]] = no_trace


def show() -> None:
    """Hand the job over to threads, too, from now on."""
    global _is_shown
    _is_shown = True


def enter(job: JobContext | None) -> None:
    """Let records of this task or thread belong to a job; None for none."""
    _current.set(job)


def current() -> JobContext | None:
    """Return the job that a record belongs to which is logged now."""
    job = _current.get()
    return None if job is None or is_in_callback() else job


def is_in_callback() -> bool:
    """Return whether this is a callback of an event loop, which is for all jobs, and no task."""
    try:
        return asyncio.current_task() is None
    except RuntimeError:  # no loop runs in this thread
        return False


def carried(function: Callable[[], R]) -> Callable[[], R]:
    """Return a function that works on the present job, for a call of it in a thread."""
    job = current() if _is_shown else None
    if job is None:
        return function

    def call() -> R:
        token = _current.set(job)
        try:
            return function()
        finally:
            _current.reset(token)

    return call
