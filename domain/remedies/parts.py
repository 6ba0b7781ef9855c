"""What to do about a part of the service: `seen doctor`, the HTTP API and the page say the same."""

from __future__ import annotations

from domain.errors import SeenError, StoreRefusesError, StoreUnavailableError

START_DATABASE = "Start it, or set SEEN_DATABASE_URL. Jobs are safe; none is accepted until then."
START_STORE = "Start it, or set SEEN_CACHE_ADDR to where it is. Downloads continue when it is back."
#: Another program wrote a key; only on the service's machine its name is shown.
REMOVE_KEY = "Run seen doctor on the service's machine: it names the key, and how to remove it."
START_BEAT = "Start one or two: seen beat (or `seen up`, which runs all services)."
REPAIR_STORE_FOR_BEAT = "Repair the store; beat records its ticks there."
REPAIR_STORE_FOR_WORKERS = "Repair the store; workers write heartbeats to it."
FREE_SPACE = "Free disk space, or set SEEN_DOWNLOAD_DIR to another disk. Jobs wait until then."


def of_store(error: SeenError) -> str:
    """Return what to do about the store by what it answered, or that it did not."""
    if isinstance(error, StoreRefusesError):
        return error.remedy
    return START_STORE if isinstance(error, StoreUnavailableError) else REMOVE_KEY


def of_workers(kind: str, *, some_run: bool) -> str:
    """Return what to do about queues that no worker serves.

    Args:
        kind: of worker, as ``seen worker --queue`` takes it.
        some_run: whether workers of that kind serve its other queues.
    """
    if some_run:
        return f"Start one that serves all queues: seen worker --queue {kind}."
    return f"Start one: seen worker --queue {kind} (or `seen up`, which runs all services)."


def of_folder(variable: str) -> str:
    """Return what to do about a folder that cannot be used; a setting names it."""
    return (
        f"Repair it, change its owner, or set {variable} to another folder. Jobs wait until then."
    )
