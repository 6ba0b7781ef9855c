"""Runs a program of the project's own, so that each failure of its environment is one sentence."""

from __future__ import annotations

import sys
from collections.abc import Callable

from domain.errors import OutputError, SeenError
from worker.process import standard_streams


def exit_with(main: Callable[[], int]) -> None:
    """Run a program and exit with its status."""
    standard_streams.prepare_command()
    try:
        try:
            status: int | str | None = main()
        except SystemExit as ended:
            status = ended.code
        sys.stdout.flush()
    except KeyboardInterrupt:
        status = 130
    except (SeenError, OSError) as error:
        is_quiet = isinstance(error, OutputError) and error.is_quiet
        status = 141 if is_quiet else 1
        if not is_quiet:
            sys.stderr.write(f"{error}\n")
    standard_streams.flush_or_discard_output()
    sys.exit(status)
