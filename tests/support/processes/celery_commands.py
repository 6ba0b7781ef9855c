"""Run commands of Celery's command line, several in one process: to import it takes most of their time.

``python -m tests.support.processes.celery_commands`` reads a list of argument lists as JSON and prints a
list of pairs of exit status and output.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout

from tests.support.processes.json_program import End, run_cases


def run_all(commands: Sequence[Sequence[str]], environment: Mapping[str, str]) -> list[End]:
    """Run ``celery -A worker.app …`` with each list of arguments."""
    return run_cases(__name__, commands, environment)


def _run(arguments: list[str]) -> End:
    from celery.bin.celery import celery

    output = io.StringIO()
    with redirect_stdout(output), redirect_stderr(output):
        try:
            celery(["-A", "worker.app", *arguments], prog_name="celery")
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
    return End(status, output.getvalue())


if __name__ == "__main__":
    sys.stdout.write(json.dumps([_run(arguments) for arguments in json.load(sys.stdin)]))
