"""Errors of the command line, their exit status, and how they are printed."""

from __future__ import annotations

import errno
from collections.abc import Sequence

from cli.output import formatting
from cli.output.messages import clear_busy, say
from domain.errors import (
    DuplicateJobError,
    IdempotencyKeyReusedError,
    IllegalTransitionError,
    InvalidInputError,
    OutputError,
    SeenError,
    SettingsError,
    UnknownJobError,
)
from domain.urls import mask_urls
from worker.process import standard_streams


class RefusedError(SeenError):
    """The command cannot be run now; nothing was changed."""

    code = "refused"


class StackError(SeenError):
    """The local stack did not start, or has ended."""

    code = "local_stack"


class AmbiguousIdError(SeenError):
    """The beginning of an id that fits several jobs.

    Args:
        typed: the beginning.
        candidates: some of the jobs, each with its state and name.
        has_more: there are more jobs than these.
    """

    code = "ambiguous_id"

    def __init__(self, typed: str, candidates: Sequence[str], *, has_more: bool) -> None:
        jobs = ", ".join([*candidates, *(["and more"] if has_more else [])])
        super().__init__(f"Several ids begin with {typed!r}. Give more characters: {jobs}.")


#: Errors that other arguments or settings avoid: exit status 2.
_USAGE_ERRORS = (
    InvalidInputError,
    SettingsError,
    UnknownJobError,
    IllegalTransitionError,
    DuplicateJobError,
    IdempotencyKeyReusedError,
    RefusedError,
    AmbiguousIdError,
)

FAILED = 1
USAGE_ERROR = 2
INTERRUPTED = 130
#: 128 + SIGPIPE, as a shell shows it for programs that this signal ends.
BROKEN_PIPE = 141

#: For the help page.
EXIT_STATUSES = """
Exit status:
  0    done
  1    a download failed, or a service, the disk or the network has a problem
  2    wrong arguments or settings; nothing was changed
  130  interrupted (Ctrl-C)
  141  the reader of the output has closed the pipe
"""


def exit_status(error: SeenError) -> int:
    """Return 2 for wrong arguments or settings, 141 for a broken pipe, 1 for other errors."""
    if isinstance(error, OutputError) and error.error.errno == errno.EPIPE:
        return BROKEN_PIPE
    return USAGE_ERROR if isinstance(error, _USAGE_ERRORS) else FAILED


def report(message: str, code: str, *, as_json: bool) -> None:
    """Print an error: ``seen: …`` to standard error, or a JSON object to standard output.

    Secrets in URLs that it repeats are masked.

    If standard output cannot be written, the error goes to standard error.
    """
    line = mask_urls(" ".join(message.split()))
    if as_json:
        try:
            clear_busy()
            print(formatting.as_json({"error": {"code": code, "message": line}}), flush=True)
            return
        except OutputError:
            standard_streams.flush_or_discard_output()
    say(line)
