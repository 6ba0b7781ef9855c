"""A file system that refuses: a library, loaded before libc, gives chosen calls a chosen errno.

It stands between real processes and the real disk (`shim.c`), so that what is tested is what runs.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import pytest

_SOURCE = Path(__file__).with_name("shim.c")


class RefusingDisk:
    """The rules for processes that are started with `environment`. Rules may change while they run.

    Args:
        folder: for the file with the rules.
    """

    def __init__(self, folder: Path) -> None:
        self._rules = folder / "refusals"
        self._rules.touch()
        self.environment = {"LD_PRELOAD": str(library()), "TEST_REFUSALS": str(self._rules)}

    def refuse(self, *rules: str) -> None:
        """Replace the rules; each is ``CALL ERRNO PATH [SKIP [TIMES]]``, see `shim.c`."""
        draft = self._rules.with_suffix(".new")
        draft.write_text("\n".join(rules))
        draft.replace(self._rules)

    def recover(self) -> None:
        """Refuse nothing any more."""
        self.refuse()


@cache
def library() -> Path:
    """Build the library, once a process; skip the test where there is no C compiler (fail in CI)."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        if os.environ.get("CI") == "true":
            pytest.fail("There is no C compiler: install gcc.")
        pytest.skip("There is no C compiler.")
    built = Path(tempfile.mkdtemp(prefix="refusing-disk-")) / "shim.so"
    options = ["-shared", "-fPIC", "-O1", "-o", str(built), str(_SOURCE), "-ldl"]
    subprocess.run([compiler, *options], check=True, capture_output=True)
    return built
