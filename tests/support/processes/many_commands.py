"""Runs several commands of `seen` in one process, which is quicker than one process each.

    python -m tests.support.processes.many_commands '[["list"], ["doctor", "--json"]]'

Writes a JSON list of [exit status, standard output, standard error].
"""

from __future__ import annotations

import io
import json
import sys
import traceback
from contextlib import redirect_stderr, redirect_stdout

from cli import main


def run(arguments: list[str]) -> tuple[int, str, str]:
    """Run one command; a traceback stands on standard error, as Python would print it."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            status = main.run(arguments)
        except BaseException:
            traceback.print_exc()
            status = 1
    return status, out.getvalue(), err.getvalue()


if __name__ == "__main__":
    sys.stdout.write(json.dumps([run(arguments) for arguments in json.loads(sys.argv[1])]))
