"""The state of the local stack: `stack.json` in the data folder, and the locks beside it.

* `stack.lock` is held by the supervisor while it runs; `stack.json` is valid only during that time.
* `start.lock` is held by a process while it starts a stack, or decides that an unused one stops.
* `clients.lock` is shared by the processes that use a stack started on demand.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from seen_local.file_lock import FileLock, is_locked
from seen_local.own_files import ForeignFileError, create_own_file, read_own_file


@dataclass(frozen=True, slots=True, kw_only=True)
class StackState:
    """A running local stack."""

    pid: int
    """The process id of the supervisor."""
    cache_addr: str
    download_dir: str
    started_at: str
    """ISO 8601."""
    on_demand: bool
    """Whether it stops when no process uses it."""
    version: str = ""
    """The program's version; "" in the file of a version that did not write one."""
    root: str = ""
    """The folder of the program."""
    database_url: str = ""
    """Of its SQLite database, with an absolute path; "" for the one in the data folder."""
    flower_url: str = ""
    flower_user: str = ""
    flower_password: str = ""
    api_url: str = ""
    """Of the HTTP API; "" without it."""
    pids: dict[str, int] = field(default_factory=dict)
    """Process ids by process name."""


def stack_lock(data_dir: Path) -> FileLock:
    """Return the lock of the supervisor."""
    return FileLock(data_dir / "stack.lock")


def start_lock(data_dir: Path) -> FileLock:
    """Return the lock under which a stack is started, or found to have no clients."""
    return FileLock(data_dir / "start.lock")


def clients_lock(data_dir: Path) -> FileLock:
    """Return the lock that processes share while they use the stack."""
    return FileLock(data_dir / "clients.lock")


def supervisor_is_running(data_dir: Path) -> bool:
    """Return whether a supervisor runs; it may be about to end."""
    return is_locked(data_dir / "stack.lock")


def running(data_dir: Path) -> StackState | None:
    """Return the running stack, or None."""
    return read_state(data_dir) if supervisor_is_running(data_dir) else None


def read_state(data_dir: Path) -> StackState | None:
    """Return the content of `stack.json`, whether or not that stack still runs; None without one.

    A later version may have added fields, which are ignored.
    """
    try:
        found = json.loads(read_own_file(_path(data_dir)))
    except (OSError, ValueError, RecursionError, ForeignFileError):
        return None
    return _parse(found)


def write(data_dir: Path, state: StackState) -> None:
    """Replace `stack.json` atomically. It contains a password, so only its owner may read it."""
    temporary = _path(data_dir).with_suffix(".tmp")
    with os.fdopen(create_own_file(temporary), "w") as file:
        json.dump(asdict(state), file, indent=2)
    temporary.replace(_path(data_dir))


def remove(data_dir: Path) -> None:
    """Remove `stack.json`; no process can use the stack from then on."""
    _path(data_dir).unlink(missing_ok=True)


def _path(data_dir: Path) -> Path:
    return data_dir / "stack.json"


_TYPES: dict[str, type] = {"pid": int, "on_demand": bool, "pids": dict}


def _parse(found: Any) -> StackState | None:
    """Return the state; None when a field is missing or of another type."""
    if not isinstance(found, dict):
        return None
    known = {one.name for one in fields(StackState)}
    values = {name: value for name, value in found.items() if name in known}
    if not all(type(value) is _TYPES.get(name, str) for name, value in values.items()):
        return None
    if not all(type(pid) is int for pid in values.get("pids", {}).values()):
        return None
    try:
        return StackState(**values)
    except TypeError:  # a field is missing
        return None
