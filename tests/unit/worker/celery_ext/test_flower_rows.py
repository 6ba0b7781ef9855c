"""What Flower's task page shows of a message: its jobs, and nothing that only looks like them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from domain.ids import new_job_id

ROOT = Path(__file__).parents[4]
A, B, C, D = (new_job_id() for _ in range(4))
#: The arguments in an event, and what is shown of them.
ARGUMENTS: dict[str, tuple[object, str]] = {
    "one job": (repr((A,)), A),
    "some jobs": (repr((A, B)), f"{A}, {B}"),
    "many jobs": (repr((A, B, C, D, "and 60 more")), f"{A}, {B}, {C}, {D} and 60 more"),
    "a number without jobs": (repr(("and 60 more",)), ""),
    "a text after a job": (repr((A, "and <b>60</b> more")), A),
    "a number before a job": (repr(("and 60 more", A)), A),
    "no job id": (repr(("http://host/?token=1",)), ""),
    "no arguments": ("()", ""),
    "no tuple": (repr({"a": A}), ""),
    "another type of entry": (repr((1, None, A)), A),
    "no Python": ("(", ""),
    "nothing": (None, ""),
}
PROGRAM = """
import json, sys, types, flowerconfig
def shown(arguments):
    task = types.SimpleNamespace(args=arguments, kwargs="{}", state="", result=None, exception=None)
    return flowerconfig.format_task(task).args
print(json.dumps({name: shown(arguments) for name, arguments in json.load(sys.stdin).items()}))
"""


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What is shown of each, by a program of its own, as Flower is one."""
    environment = {"SEEN_DATA_DIR": str(tmp_path_factory.mktemp("flower"))}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=json.dumps({name: given for name, (given, _) in ARGUMENTS.items()}),
        env={**os.environ, **environment, "PYTHONPATH": str(ROOT), "SEEN_FLOWER_PASSWORD": "open"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    answers: dict[str, str] = json.loads(done.stdout)
    return answers


@pytest.mark.parametrize("name", ARGUMENTS)
def test_row_shows_job_ids(shown: dict[str, str], name: str) -> None:
    assert shown[name] == ARGUMENTS[name][1]
