"""What the local stack tells about itself: `stack.json` in the data folder, and the locks beside it.

* `stack.lock` is held exclusively by the supervisor as long as it lives: only then the file counts.
* `start.lock` is held by whoever decides whether a stack is to be started or, left alone, to stop.
* `clients.lock` is shared by the commands that need a stack that was started on demand.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

from cli.local_stack.file_lock import FileLock, is_locked
from worker.storage.own_files import ForeignFileError, create_own_file, read_own_file


@dataclass(frozen=True, slots=True, kw_only=True)
class StackState:
    """A running local stack."""

    pid: int
    """The supervisor."""
    cache_addr: str
    download_dir: str
    started_at: str
    on_demand: bool
    """Whether it stops by itself when nobody needs it any more."""
    flower_url: str = ""
    flower_user: str = ""
    flower_password: str = ""
    pids: dict[str, int] = field(default_factory=dict)
    """The processes by name."""


def stack_lock(data_dir: Path) -> FileLock:
    """Return the lock of the one supervisor."""
    return FileLock(data_dir / "stack.lock")


def start_lock(data_dir: Path) -> FileLock:
    """Return the lock under which a stack is started or declared deserted."""
    return FileLock(data_dir / "start.lock")


def clients_lock(data_dir: Path) -> FileLock:
    """Return the lock that commands share while they need the stack."""
    return FileLock(data_dir / "clients.lock")


def supervisor_is_running(data_dir: Path) -> bool:
    """Say whether a supervisor is there, though it may be about to end."""
    return is_locked(data_dir / "stack.lock")


def running(data_dir: Path) -> StackState | None:
    """Return the running stack, or None."""
    return read_state(data_dir) if supervisor_is_running(data_dir) else None


def read_state(data_dir: Path) -> StackState | None:
    """Return what the file says, whether or not that stack still runs."""
    try:
        return StackState(**json.loads(read_own_file(_path(data_dir))))
    except (OSError, ValueError, TypeError, ForeignFileError):
        return None


def write(data_dir: Path, state: StackState) -> None:
    """Replace the file in one step; it holds a password, so only its owner may read it."""
    temporary = _path(data_dir).with_suffix(".tmp")
    with os.fdopen(create_own_file(temporary), "w") as file:
        json.dump(asdict(state), file, indent=2)
    temporary.replace(_path(data_dir))


def remove(data_dir: Path) -> None:
    """Take the file away: from now on nobody joins."""
    _path(data_dir).unlink(missing_ok=True)


def _path(data_dir: Path) -> Path:
    return data_dir / "stack.json"
