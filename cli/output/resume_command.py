"""The command that continues a download after `seen get` has ended."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from domain.errors import InvalidInputError
from domain.job import Job, JobStatus
from domain.urls import canonical_url, check_url, display_url

if TYPE_CHECKING:
    from tasks.api.job_view import JobView

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
        if not _can_be_retried(job):
            return None  # a permanent error
        retry = f"seen retry {job.id}"
        return f"{retry} && {same_command(arguments)}" if is_local else retry
    if is_local:
        return same_command(arguments)
    return f"seen resume {job.id}" if job.status is JobStatus.PAUSED else f"seen watch {job.id}"


@dataclass(frozen=True, slots=True)
class Continuation:
    """How the downloads of a `seen get` are continued: its arguments without what is finished."""

    arguments: Sequence[str]
    is_local: bool
    """See `resume_command`."""

    def command(self, job: Job) -> str | None:
        """Return the command that continues a job; None if none does."""
        return resume_command(job, self.arguments, is_local=self.is_local)


def how_to_continue(views: Iterable[JobView]) -> str:
    """Return a sentence about this `seen get`: the command that continues what is unfinished."""
    arguments = sys.argv[1:]
    others = unfinished(arguments, views)
    if others == arguments:
        return "The same command continues where it stopped."
    return f"To continue the others: {same_command(others)}"


def unfinished(arguments: Sequence[str], views: Iterable[JobView]) -> list[str]:
    """Return the arguments of `seen get` without the URLs of finished jobs: it would fetch them again.

    A job that has failed and can be retried is not finished here.
    """
    finished = {
        canonical_url(view.job.url)
        for view in views
        if view.job.is_finished and not _can_be_retried(view.job)
    }
    before = ["", *arguments]
    return [
        argument
        for previous, argument in zip(before, arguments, strict=False)
        if previous == "--mirror" or _canonical(argument) not in finished
    ]


def _can_be_retried(job: Job) -> bool:
    return job.status is JobStatus.FAILED and job.attempts >= job.max_attempts


def _canonical(argument: str) -> str | None:
    """Return the canonical form of a URL as typed; None for an argument that is no URL."""
    try:
        return canonical_url(check_url(argument))
    except InvalidInputError:
        return None


def same_command(arguments: Sequence[str]) -> str:
    """Return the command line with these arguments, unless one may be secret."""
    may_be_secret = any(
        one.startswith(_SECRET_OPTIONS) or ("://" in one and display_url(one) != one)
        for one in arguments
    )
    return "seen get …, as before" if may_be_secret else shlex.join(["seen", *arguments])
