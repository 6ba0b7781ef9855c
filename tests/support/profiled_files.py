"""Which files of the product run code while a function is called."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).parents[2]
_NOT_PRODUCT = ("tests/", ".venv/", "bench/")


def files_run_by(call: Callable[[], Any]) -> set[str]:
    """Call a function in a thread; return the product's files that ran in it and in threads it started.

    Paths are relative to the repository. Threads that were running before are not seen.
    """
    files: set[str] = set()

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            files.add(frame.f_code.co_filename)

    threading.setprofile(profile)
    try:
        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
    finally:
        threading.setprofile(None)
    return {found for found in map(_relative, files) if found}


def _relative(path: str) -> str:
    if not path.startswith(f"{ROOT}/") or sys.prefix in path:
        return ""
    relative = path.removeprefix(f"{ROOT}/")
    return "" if relative.startswith(_NOT_PRODUCT) else relative
