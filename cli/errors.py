"""Errors of the command line, their exit status, and how they are printed."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from cli.output import formatting
from cli.output.messages import clear_busy, say
from domain.errors import (
    AccountError,
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

#: Bad lines of a list that are described; JSON has all of them.
_LINES_IN_ERROR = 20


class RefusedError(SeenError):
    """The command cannot be run now; nothing was changed."""

    code = "refused"


class StackError(SeenError):
    """The local stack did not start, or has ended."""

    code = "local_stack"


class UsageError(SeenError):
    """Arguments are missing, or do not go together."""

    code = "usage"


class BadLine(NamedTuple):
    """A line of a list that is not accepted, and why, as sentences."""

    number: int
    reason: str

    def as_dict(self) -> dict[str, object]:
        """Return it for JSON."""
        return {"line": self.number, "error": _error_dict(BadLinesError.code, self.reason)}


class BadLinesError(SeenError):
    """Lines of a list are not accepted, so that nothing is.

    Attributes:
        lines: all of them.
    """

    code = "invalid_input"

    def __init__(self, name: str, lines: Sequence[BadLine]) -> None:
        self.lines, self._name = lines, name
        bad = "1 line that is" if len(lines) == 1 else f"{len(lines):,} lines that are"
        super().__init__(
            f"{name} has {bad} not accepted, so nothing was accepted. Correct the list, or leave "
            "them out with --skip-bad."
        )

    def texts(self) -> Iterator[str]:
        """Yield a line of text about each bad line; of many, about the first ones."""
        for number, reason in self.lines[:_LINES_IN_ERROR]:
            yield f"{self._name}, line {number:,}: {mask_urls(reason)}"
        more = len(self.lines) - _LINES_IN_ERROR
        if more > 0:
            yield f"{self._name}: {more:,} more bad {'line' if more == 1 else 'lines'}."


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
    AccountError,
    UnknownJobError,
    IllegalTransitionError,
    DuplicateJobError,
    IdempotencyKeyReusedError,
    RefusedError,
    UsageError,
    BadLinesError,
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


def error_as_dict(error: SeenError) -> dict[str, object]:
    """Return an error for JSON, ``{"error": {"code": …, "message": …}}``."""
    return {"error": _error_dict(error.code, str(error))}


def _error_dict(code: str, message: str) -> dict[str, object]:
    return {"code": code, "message": mask_urls(" ".join(message.split()))}


def report_error(error: SeenError, *, as_json: bool) -> None:
    """Print an error as `report` does; of a list, its bad lines, too."""
    if isinstance(error, BadLinesError):
        if as_json:
            report(
                str(error), error.code, as_json=True, lines=[one.as_dict() for one in error.lines]
            )
            return
        for text in error.texts():
            say(text)
    report(str(error), error.code, as_json=as_json)


def report(message: str, code: str, *, as_json: bool, **more: object) -> None:
    """Print an error: ``seen: …`` to standard error, or a JSON object to standard output.

    Secrets in URLs that it repeats are masked.

    Args:
        message: sentences.
        code: of the error.
        as_json: print JSON.
        more: further fields of the JSON.

    If standard output cannot be written, the error goes to standard error.
    """
    described = _error_dict(code, message)
    if as_json:
        try:
            clear_busy()
            print(formatting.as_json({"error": {**described, **more}}), flush=True)
            return
        except OutputError:
            standard_streams.flush_or_discard_output()
    say(str(described["message"]))
