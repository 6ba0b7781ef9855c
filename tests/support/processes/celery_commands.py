"""Run commands of Celery's command line, several in one process: to import it takes most of their time.

``python -m tests.support.processes.celery_commands`` reads a list of argument lists as JSON and prints a
list of pairs of exit status and output.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[3]


class Answer(NamedTuple):
    """How a command ended."""

    status: int
    output: str


def run_all(commands: Sequence[Sequence[str]], environment: Mapping[str, str]) -> list[Answer]:
    """Run ``celery -A worker.app …`` with each list of arguments."""
    done = subprocess.run(
        [sys.executable, "-m", __name__],
        input=json.dumps(commands),
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [Answer(*one) for one in json.loads(done.stdout)]


def _run(arguments: list[str]) -> Answer:
    from celery.bin.celery import celery

    output = io.StringIO()
    with redirect_stdout(output), redirect_stderr(output):
        try:
            celery(["-A", "worker.app", *arguments], prog_name="celery")
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
    return Answer(status, output.getvalue())


if __name__ == "__main__":
    sys.stdout.write(json.dumps([_run(arguments) for arguments in json.load(sys.stdin)]))
