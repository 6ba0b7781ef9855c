"""How errors leave the command line: one line for people or an object for programs, and a status."""

from __future__ import annotations

import sys

from cli.output import formatting
from domain.errors import (
    DuplicateJobError,
    IdempotencyKeyReusedError,
    IllegalTransitionError,
    InvalidInputError,
    SeenError,
    SettingsError,
    UnknownJobError,
)
from domain.text import escaped


class RefusedError(SeenError):
    """What was asked cannot be done as things stand, and nothing has been changed."""

    code = "refused"


class StackError(SeenError):
    """The local stack did not start, or went away."""

    code = "local_stack"


#: What the person at the keyboard can put right by asking differently.
_USAGE_ERRORS = (
    InvalidInputError,
    SettingsError,
    UnknownJobError,
    IllegalTransitionError,
    DuplicateJobError,
    IdempotencyKeyReusedError,
    RefusedError,
)

FAILED = 1
USAGE_ERROR = 2
INTERRUPTED = 130


def exit_status(error: SeenError) -> int:
    """Return 2 for what was asked wrongly, 1 for what went wrong."""
    return USAGE_ERROR if isinstance(error, _USAGE_ERRORS) else FAILED


def report(message: str, code: str, *, as_json: bool) -> None:
    """Print an error: ``seen: …`` to standard error, or a JSON object to standard output."""
    line = " ".join(message.split())
    if as_json:
        print(formatting.as_json({"error": {"code": code, "message": line}}))
    else:
        print(f"seen: {escaped(line)}", file=sys.stderr)
