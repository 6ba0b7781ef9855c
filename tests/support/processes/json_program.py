"""Run the cases of a test in one program: it reads them as JSON and prints how each ended."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[3]


class End(NamedTuple):
    """How a case ended: its exit status and what it printed."""

    status: int
    output: str


def run_cases(
    module: str, cases: Sequence[Sequence[object]], environment: Mapping[str, str]
) -> list[End]:
    """Run ``python -m MODULE`` with the cases; it prints a list of pairs of exit status and output."""
    done = subprocess.run(
        [sys.executable, "-m", module],
        input=json.dumps(cases),
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [End(*one) for one in json.loads(done.stdout)]
