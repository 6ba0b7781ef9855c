"""Finds the local stack that runs with this data folder, and makes this process use it.

One discovery for commands, for Celery's command line and for Python programs that use `tasks` or
`cache`. It counts only where no store is configured: SEEN_CACHE_ADDR always wins. Processes of the stack
itself have that variable from their supervisor.
"""

from __future__ import annotations

import logging
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from domain.errors import SeenError, SettingsError
from domain.text import printable
from seen_local import stack_state
from seen_local.file_lock import FileLock
from seen_local.late_settings import settings_module
from seen_local.stack_settings import (
    configure_for_local_stack,
    has_shared_database,
    has_store,
    override,
    sqlite_url,
    store_fields,
)
from seen_local.stack_state import StackState
from seen_local.version import version

if TYPE_CHECKING:
    from settings import Settings

logger = logging.getLogger(__name__)

#: The folder of this program.
ROOT = Path(__file__).resolve().parents[1]

#: Held until this process ends, so that a stack on demand does not stop while the process uses it.
_uses: list[FileLock] = []
#: The stacks that are in the log of this process.
_logged: set[str] = set()


class OtherVersionError(SettingsError):
    """The local stack that runs is of another version than this program."""

    code = "other_version"


def use_running_stack(*, any_directory: bool = False) -> StackState | None:
    """Make this process use the running local stack and return it; None without one.

    Does nothing where a store is configured, or where an earlier call has found a stack. A stack on
    demand runs on until this process ends.

    Args:
        any_directory: as in `configure_for_local_stack`.

    Raises:
        OtherVersionError: the stack is of another version; nothing was changed.
        SettingsError: as `configure`.
    """
    settings = settings_module.load()
    if has_store(settings) or has_shared_database(settings):
        return None  # a database server is for a shared service, which this stack is not part of
    state = _find(settings.data_dir)
    if state is None:
        return None
    configure(settings, state, any_directory=any_directory)
    _log_once(state)
    return state


def with_running_store(settings: Settings) -> Settings:
    """Return settings with the store of the running local stack; as given, without such a stack.

    They stay as they are also where they name a store or a database server. A stack on demand runs on
    until this process ends. The environment is not changed.

    Raises:
        OtherVersionError: the stack is of another version.
    """
    if has_store(settings) or has_shared_database(settings):
        return settings
    try:
        state = _find(settings.data_dir)
    except OtherVersionError:
        raise
    except SeenError:
        return settings  # a data folder that cannot be used: the store may be on another machine
    if state is None:
        return settings
    _log_once(state)
    return settings.model_copy(update=store_fields(state.cache_addr))


def configure(settings: Settings, state: StackState, *, any_directory: bool) -> None:
    """Make this process use a stack and its database.

    Raises:
        SettingsError: SEEN_DATABASE_URL names another database, whose jobs the stack does not run.
    """
    if settings.database_url is not None:
        embedded = settings.model_copy(update={"database_url": None})
        own, used = sqlite_url(settings), state.database_url or sqlite_url(embedded)
        if own != used:
            raise SettingsError(
                f"SEEN_DATABASE_URL names {own}, but {describe(state)} uses {used}. "
                "Set the same, or set SEEN_DATA_DIR to run another stack."
            )
    configure_for_local_stack(
        settings, state.cache_addr, state.download_dir, any_directory=any_directory
    )
    if state.database_url:
        override({"database_url": state.database_url})


def keep_over_exec() -> None:
    """Let the program that replaces this process keep the stack running, as this process would."""
    for use in _uses:
        use.keep_over_exec()


def refuse_other_version(state: StackState) -> None:
    """Raise OtherVersionError for a stack of another version, whose jobs and messages may differ."""
    if state.version != version():
        raise OtherVersionError(
            f"The local stack that runs is {_name(state)}; this is version {version()} in {ROOT}. "
            f"Stop that stack (`kill {state.pid}`), or set SEEN_DATA_DIR to run another one."
        )


def describe(state: StackState) -> str:
    """Return which stack it is: what started it and when, its process, version and program folder."""
    text = f"the local stack of {_name(state)}"
    is_other = state.version and Path(state.root) != ROOT
    return f"{text}, which is another checkout than {ROOT}" if is_other else text


def _log_once(state: StackState) -> None:
    which = describe(state)
    if which not in _logged:
        _logged.add(which)
        logger.info("Using %s", which)


def _name(state: StackState) -> str:
    starter = "seen get" if state.on_demand else "seen up"
    which = f"version {state.version} in {state.root}" if state.version else "an earlier version"
    return printable(f"`{starter}` (process {state.pid}, since {_since(state)}, {which})")


def _find(data_dir: Path) -> StackState | None:
    """Return the running stack; hold it if it was started on demand."""
    state = stack_state.running(data_dir)
    if state is not None:
        refuse_other_version(state)
        if state.on_demand:
            return _hold(data_dir)
    return state


def _hold(data_dir: Path) -> StackState | None:
    """Keep a stack on demand running until this process ends; None if it has stopped meanwhile."""
    use = stack_state.clients_lock(data_dir)
    if any(held.path == use.path for held in _uses):
        return stack_state.running(data_dir)
    with stack_state.start_lock(data_dir):
        use.acquire(shared=True)
        state = stack_state.running(data_dir)
    if state is None:
        use.release()
        return None
    refuse_other_version(state)
    _uses.append(use)
    return state


def _since(state: StackState) -> str:
    try:
        at = datetime.fromisoformat(state.started_at).astimezone()
    except (ValueError, OverflowError, OSError):
        return "an unknown time"
    is_today = at.date() == datetime.now().astimezone().date()
    return f"{at:%H:%M}" if is_today else f"{at:%Y-%m-%d %H:%M}"
