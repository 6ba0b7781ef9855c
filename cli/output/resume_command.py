"""The command by which a download that `seen get` has left goes on."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from domain.job import Job, JobStatus

#: Their values may be secrets, which are not repeated.
_SECRET_OPTIONS = ("-u", "--user", "--login", "-H", "--header", "-b", "--cookie")


def resume_command(job: Job, arguments: Sequence[str], *, is_local: bool) -> str | None:
    """Return the command line, or None where nothing is left to do.

    Args:
        job: as it stands now.
        arguments: of this `seen` command.
        is_local: no service runs, so that only a command like this one brings workers.
    """
    if job.status is JobStatus.COMPLETED or job.status is JobStatus.CANCELLED:
        return None
    if job.status is JobStatus.FAILED:
        if job.attempts < job.max_attempts:
            return None  # another attempt cannot help
        retry = f"seen retry {job.id}"
        return f"{retry} && {_again(arguments)}" if is_local else retry
    if is_local:
        return _again(arguments)
    return f"seen resume {job.id}" if job.status is JobStatus.PAUSED else f"seen watch {job.id}"


def _again(arguments: Sequence[str]) -> str:
    may_be_secret = any(one.startswith(_SECRET_OPTIONS) or "?" in one for one in arguments)
    return "seen get …, as before" if may_be_secret else shlex.join(["seen", *arguments])
