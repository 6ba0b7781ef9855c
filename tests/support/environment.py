"""The environment of tests, of the chaos runner and of the benchmarks."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

#: Variables that these programs read themselves.
OWN = {"SEEN_TEST_DRAGONFLY", "SEEN_TEST_REDIS", "SEEN_TEST_FULL"}

#: A folder that does not exist, and that no process creates.
_NO_DATA = Path(tempfile.gettempdir(), "seen-tests-without-data-folder")

#: Tests whose length can be chosen run for long; else as long as every change can wait for.
FULL = os.environ.get("SEEN_TEST_FULL") == "1"


def forget_developer_settings() -> None:
    """Remove what a developer has set for the product, for this process and those that it starts.

    To be called before a module of the product reads a setting.
    """
    for name in list(os.environ):
        if name.upper().startswith("SEEN_") and name not in OWN:
            del os.environ[name]
    # The default data folder may be that of a developer's own stack, which tests must not find.
    os.environ["XDG_DATA_HOME"] = str(_NO_DATA)
