"""The command line starts quickly: what a command does not need is not loaded."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["cli.main", "cli.local_stack.supervisor"])
def test_nothing_heavy_is_loaded_at_the_start(module: str) -> None:
    code = (
        f"import sys, {module}; "
        "print({'celery', 'sqlalchemy', 'redis', 'pycurl', 'alembic'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_reading_jobs_loads_neither_celery_nor_libcurl() -> None:
    code = (
        "import sys, tasks, cli.output.tables; tasks.show; "
        "print({'celery', 'kombu', 'pycurl'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
