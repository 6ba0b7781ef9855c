"""What a command shows at once, before its imports: they take most of a second.

It is what will most likely happen, found out without the settings; the command's own output replaces it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from cli.output.messages import show_busy

#: The variables that name a store (as in `stack_settings.has_store`): then no local stack is used.
STORE_VARIABLES = tuple(
    f"SEEN_{name}{suffix}"
    for name in ("CACHE_ADDR", "BROKER_URL", "RESULT_URL")
    for suffix in ("", "_FILE")
)
#: With these, nothing but the result is printed.
_SILENT = frozenset({"-h", "--help", "-q", "--quiet"})


def show(arguments: Sequence[str]) -> None:
    """Show the first line of the command that is about to start, if it has one."""
    if not _SILENT.isdisjoint(arguments):
        return
    match arguments[:1]:
        case ["get"]:
            show_busy(workers_text(os.environ))
        case ["watch"]:
            show_busy("reading jobs …")


def workers_text(environment: Mapping[str, str]) -> str:
    """Return which workers `seen get` will use."""
    if any(environment.get(name) for name in STORE_VARIABLES):
        return "using the configured workers …"
    return "using the running workers …" if _stack_runs(environment) else "starting workers …"


def _stack_runs(environment: Mapping[str, str]) -> bool:
    from domain.errors import SeenError
    from seen_local.file_lock import is_locked

    folder = environment.get("SEEN_DATA_DIR")
    try:
        if not folder:
            import platformdirs

            folder = platformdirs.user_data_dir("seen")
        return is_locked(Path(folder) / "stack.lock")
    except (OSError, ValueError, RuntimeError, SeenError):
        return False  # the command itself reports what is wrong
