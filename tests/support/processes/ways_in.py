"""Ways to import this project, each in a folder that has another module of one of its names.

``python -m tests.support.processes.ways_in`` reads cases as JSON and prints how each ended. It imports
the libraries once, and forks for each case: a process for each would need a minute.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.support.processes.json_program import ROOT, End, run_cases

_LIBRARIES = (
    *("celery.bin.celery", "kombu", "pycurl", "pydantic_settings", "redis", "typer", "sqlalchemy"),
    *("alembic", "cryptography.fernet", "platformdirs", "rich.console"),
)


class Case(NamedTuple):
    """One way in."""

    way: str
    """``import NAME``, ``celery …`` or ``cli …``."""
    folder: str
    """The current folder."""
    path: list[str]
    """What `sys.path` starts with."""


def run_all(cases: Sequence[Case], environment: Mapping[str, str]) -> list[End]:
    """Run each case in a process of its own."""
    return run_cases(__name__, cases, environment)


def _run(case: Case) -> End:
    with tempfile.TemporaryFile() as output:
        child = os.fork()
        if child == 0:
            for descriptor in (1, 2):
                os.dup2(output.fileno(), descriptor)
            os._exit(_status_of(case))
        _, status = os.waitpid(child, 0)
        output.seek(0)
        return End(os.waitstatus_to_exitcode(status), output.read().decode())


def _status_of(case: Case) -> int:
    os.chdir(case.folder)
    libraries = [one for one in sys.path if one and Path(one).resolve() != ROOT]
    sys.path[:] = [*case.path, *libraries]
    sys.path_importer_cache.clear()
    kind, *arguments = case.way.split()
    status = 0
    try:
        if kind == "import":
            for name in arguments:
                importlib.import_module(name)
        else:
            sys.argv = [kind, *arguments]
            runpy.run_module(kind, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if isinstance(end.code, str):
            sys.stderr.write(end.code)
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return status


if __name__ == "__main__":
    for library in _LIBRARIES:
        importlib.import_module(library)
    assert "settings" not in sys.modules
    ends = [_run(Case(*case)) for case in json.load(sys.stdin)]
    sys.stdout.write(json.dumps(ends))
