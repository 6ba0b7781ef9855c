"""The command that continues a download after `seen get` has ended."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from domain.job import Job, JobStatus
from domain.urls import display_url

#: Options whose values may be secret. A command line that has one is not printed.
_SECRET_OPTIONS = ("--secret-url", "-u", "--user", "--login", "-H", "--header", "-b", "--cookie")


def resume_command(job: Job, arguments: Sequence[str], *, is_local: bool) -> str | None:
    """Return the command line; None for a job that no command continues.

    Args:
        job: its present row.
        arguments: of this `seen` command.
        is_local: `seen get` runs its own workers, so that only another `seen get` continues the job.
    """
    if job.status is JobStatus.COMPLETED or job.status is JobStatus.CANCELLED:
        return None
    if job.status is JobStatus.FAILED:
        if job.attempts < job.max_attempts:
            return None  # a permanent error
        retry = f"seen retry {job.id}"
        return f"{retry} && {_same_command(arguments)}" if is_local else retry
    if is_local:
        return _same_command(arguments)
    return f"seen resume {job.id}" if job.status is JobStatus.PAUSED else f"seen watch {job.id}"


def _same_command(arguments: Sequence[str]) -> str:
    may_be_secret = any(
        one.startswith(_SECRET_OPTIONS) or ("://" in one and display_url(one) != one)
        for one in arguments
    )
    return "seen get …, as before" if may_be_secret else shlex.join(["seen", *arguments])
