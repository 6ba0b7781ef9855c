"""A disk that makes its callers wait. Python runs this at its start where PYTHONPATH has its folder.

``TEST_SYNC_SECONDS`` is how long each fdatasync takes; while the file ``TEST_DISK_HANGS`` is there, none
returns, and the first one that hangs says so in the file ``TEST_DISK_HANGS``.reached.
"""

import os
import time
from typing import Any

_sync = os.fdatasync
_seconds = float(os.environ.get("TEST_SYNC_SECONDS", "0"))
_hangs = os.environ.get("TEST_DISK_HANGS", "")


def _slow_sync(fd: Any) -> None:
    time.sleep(_seconds)
    while _hangs and os.path.exists(_hangs):  # noqa: PTH110 - at every process's start: nothing to load
        os.close(os.open(f"{_hangs}.reached", os.O_CREAT | os.O_WRONLY))
        time.sleep(0.01)
    _sync(fd)


os.fdatasync = _slow_sync
