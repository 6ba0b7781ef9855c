"""Looks at everything the service needs, in the order in which one thing needs the other."""

from __future__ import annotations

from collections.abc import Iterator

import settings as settings_module
from cli.diagnostics import disk, store
from cli.diagnostics.findings import Finding, Level, ok, problem
from cli.local_stack import environment, stack_state
from cli.local_stack.client import use_running_stack
from domain.errors import SettingsError
from settings import Settings


def examine() -> list[Finding]:
    """Look at everything; what is broken never keeps the rest from being looked at."""
    try:
        settings = settings_module.load()
    except SettingsError as error:
        return [problem("settings", " ".join(str(error).split()), "Set these variables right.")]
    return list(_examine(settings))


def _examine(settings: Settings) -> Iterator[Finding]:
    yield ok("settings", "readable and consistent")
    yield _local_stack(settings)
    use_running_stack()
    settings = settings_module.load()
    store_findings = list(store.examine(settings))
    yield from store_findings
    if store_findings[0].level is Level.OK:
        from cli.diagnostics import workers

        yield from workers.examine(settings)
    yield from disk.examine(settings)


def _local_stack(settings: Settings) -> Finding:
    if environment.has_store(settings):
        return ok("local stack", "none: a store is configured")
    state = stack_state.running(settings.data_dir)
    if state is None:
        return ok("local stack", "not running (`seen up` runs it; `seen get` when it needs one)")
    missing = {"downloads", "maintenance", "beat", "store"} - state.pids.keys()
    if missing and not state.on_demand:
        return problem(
            "local stack",
            f"process {state.pid}, without {', '.join(sorted(missing))}",
            f"The logs in {settings.data_dir / 'logs'} tell why.",
        )
    return ok("local stack", f"running, process {state.pid}, since {state.started_at}")
