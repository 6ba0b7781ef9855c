"""Runs all checks, in the order of their dependencies."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cli.diagnostics import disk, store
from cli.diagnostics.findings import Finding, Level, ok, problem
from cli.local_stack import environment
from cli.local_stack.client import use_running_stack
from domain.errors import SettingsError
from seen_local import discovery, stack_state
from seen_local.discovery import OtherVersionError
from seen_local.late_settings import settings_module
from seen_local.version import version

if TYPE_CHECKING:
    from settings import Settings


def examine() -> list[Finding]:
    """Run all checks; a failed check does not prevent later ones."""
    program = ok("version", f"seen {version()}, Python {platform.python_version()}")
    unknown = [
        problem("settings", text, "Correct its name, or remove it.")
        for text in settings_module.unknown_variables()
    ]
    try:
        settings = settings_module.load()
    except SettingsError as error:
        text = " ".join(str(error).split())
        return [program, problem("settings", text, "Correct these variables."), *unknown]
    return [program, *(unknown or [ok("settings", "valid")]), *_examine(settings)]


def _examine(settings: Settings) -> Iterator[Finding]:
    try:
        yield _local_stack(settings)
        use_running_stack()
    except OtherVersionError:
        return  # nothing of it can be examined; the finding about the stack names it
    except SettingsError as error:
        # The local stack's store and database are in this folder, too.
        yield problem("data folder", str(error), "Correct SEEN_DATA_DIR, or this folder.")
        return
    settings = settings_module.load()
    store_findings = list(store.examine(settings))
    yield from store_findings
    if store_findings[0].level is Level.OK:
        from cli.diagnostics import workers

        yield from workers.examine(settings)
    yield from disk.examine(settings)


def _local_stack(settings: Settings) -> Finding:
    if environment.has_store(settings):
        return ok("local stack", "not used: a store is configured")
    state = stack_state.running(settings.data_dir)
    if state is None:
        return ok("local stack", "not running (`seen up` and `seen get` start it)")
    try:
        discovery.refuse_other_version(state)
    except OtherVersionError as error:
        return problem("local stack", str(error), "Use the program that runs it, or stop it.")
    missing = {"downloads", "maintenance", "beat", "store"} - state.pids.keys()
    if missing and not state.on_demand:
        return problem(
            "local stack",
            f"process {state.pid} runs, but not {', '.join(sorted(missing))}",
            f"See the logs in {settings.data_dir / 'logs'}.",
        )
    return ok("local stack", f"running: {discovery.describe(state)}")
