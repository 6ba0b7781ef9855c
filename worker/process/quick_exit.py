"""Ends a process without finalizing the interpreter.

Freeing each object of the loaded modules takes a tenth of a second and more, and nothing needs it.
"""

from __future__ import annotations

import atexit
import os
import sys
from contextlib import suppress
from typing import NoReturn

_statuses: list[int] = []


def prepare() -> None:
    """Call it before what registers functions with `atexit`: they are run before the process ends."""
    atexit.register(_end)


def exit_with(status: int) -> NoReturn:
    """Raise SystemExit; threads and functions of `atexit` end as usual, and then at once the process."""
    _statuses.append(status)
    sys.exit(status)


def _end() -> None:
    if _statuses:
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):
                stream.flush()
        os._exit(_statuses[-1])
