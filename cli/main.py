"""The `seen` command: runs one of `command_table`, and prints every error as one line."""

from __future__ import annotations

import logging
import os
import re
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cli.command_table import application
from cli.errors import FAILED, INTERRUPTED, exit_status, report, report_error
from cli.output.messages import clear_busy, say
from cli.signals import AnsweredInterrupt, end_at_signals
from domain.errors import OutputError, SeenError
from domain.text import requirement
from worker import utf8_mode
from worker.process import quick_exit, standard_streams

if TYPE_CHECKING:
    from cli.help.pages import SeenTyper


def __getattr__(name: str) -> SeenTyper:
    """``app`` is the application with all commands; a command that is run loads only its own modules."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return application()


def main() -> None:
    """Run the command line of this process and exit with its status."""
    utf8_mode.ensure()
    quick_exit.prepare()
    standard_streams.prepare_command()
    try:
        status = run(sys.argv[1:])
        standard_streams.flush_or_discard_output()
        end_at_signals()
    except KeyboardInterrupt as interrupt:  # before the command, or after its end
        status = _interrupted(interrupt)
    quick_exit.exit_with(status)


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit status. Errors are printed."""
    # Without a handler, warnings of libraries would be printed to standard error.
    logging.getLogger().addHandler(logging.NullHandler())
    _forget_unusable_variables()
    as_json = "--json" in arguments
    try:
        status = application(arguments)(list(arguments), prog_name="seen", standalone_mode=False)
        _flush_output()
    except OutputError as error:
        standard_streams.flush_or_discard_output()
        if not error.is_quiet:
            report(str(error), error.code, as_json=False)
        return exit_status(error)
    except SeenError as error:
        report_error(error, as_json=as_json)
        return exit_status(error)
    except typer.TyperException as error:
        report(f"{_sentence(error)} See `{_command(error)} --help`.", "usage", as_json=as_json)
        return error.exit_code
    except typer.Abort:
        say("interrupted.")
        return INTERRUPTED
    except KeyboardInterrupt as interrupt:
        return _interrupted(interrupt)
    except OSError as error:
        report(_system_error(error), "system", as_json=as_json)
        return FAILED
    except Exception as error:
        if sys.flags.dev_mode:
            raise
        report(_unexpected(error), "internal", as_json=as_json)
        return FAILED
    finally:
        clear_busy()
    return status if isinstance(status, int) else 0


def _interrupted(interrupt: KeyboardInterrupt) -> int:
    if not isinstance(interrupt, AnsweredInterrupt):
        with suppress(OutputError):
            say("interrupted.")
    return INTERRUPTED


def _flush_output() -> None:
    try:
        sys.stdout.flush()
    except OutputError as error:
        if error.is_quiet:
            raise
        effect = "The command was executed; only its output is missing."
        raise OutputError(error.error, error.effect or effect) from None


def _forget_unusable_variables() -> None:
    """Remove variables that Typer and Rich read, and that would be no help or an error."""
    os.environ.pop("_SEEN_COMPLETE", None)  # Typer would answer it; `seen completion` needs none
    for name in ("COLUMNS", "LINES", "TERMINAL_WIDTH"):
        if not re.fullmatch(r"[1-9][0-9]{0,3}", os.environ.get(name, "1")):
            del os.environ[name]


def _system_error(error: OSError) -> str:
    """Return a sentence about an error of a system call that names no setting or argument."""
    what = "" if error.filename is None else f" for {error.filename}"
    return f"The operating system reports an error{what}: {error.strerror or error}."


def _unexpected(error: Exception) -> str:
    """Return a sentence about an error that is a fault of this program."""
    *_, last = traceback.extract_tb(error.__traceback__) or [None]
    where = "" if last is None else f" in {Path(last.filename).name}, line {last.lineno}"
    return (
        f"An unexpected error: {type(error).__name__}: {error}{where}. Please report it; "
        "PYTHONDEVMODE=1 shows where it comes from."
    )


def _sentence(error: typer.TyperException) -> str:
    """Return Typer's message as one sentence, in the words of our own messages."""
    text = error.format_message()
    validation = sys.modules.get("pydantic")  # Typer loads it for a value that it converts
    if validation is not None and isinstance(error.__cause__, validation.ValidationError):
        for problem in error.__cause__.errors(include_url=False):
            text = text.replace(problem["msg"], requirement(problem))
    text = text.strip()
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _command(error: typer.TyperException) -> str:
    """Return the command that was called with wrong arguments."""
    return str(getattr(getattr(error, "ctx", None), "command_path", "seen"))
