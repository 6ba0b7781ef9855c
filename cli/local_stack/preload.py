"""Loads once what the processes of the local stack have in common; they are forked afterwards.

Nothing here reads settings, opens a file or connects: the settings are complete when the store runs.
"""

from __future__ import annotations

import gc
import importlib
from collections.abc import Iterator
from contextlib import contextmanager

#: What the command that submits jobs and the services need.
COMMON = ("tasks.api.submit", "worker.app", "kombu.transport.redis", "sqlalchemy.dialects.sqlite")
#: What `seen get` needs besides.
COMMAND = ("cli.following.batch", "cli.following.follow", "cli.output.display")
#: What the services need besides.
SERVICES = (
    *("worker.celery_ext.main", "celery.apps.worker", "celery.apps.beat"),
    *("worker.celery_ext.consumer", "worker.celery_ext.pool"),
    *("worker.celery_ext.scheduler", "worker.celery_ext.shutdown"),
    *("tasks.downloads", "tasks.periodic.persist", "tasks.periodic.reconcile"),
    *("tasks.periodic.maintenance", "tasks.periodic.purge", "tasks.periodic.broker"),
)


def load(modules: tuple[str, ...]) -> None:
    """Import modules."""
    with collecting_no_garbage():
        for module in modules:
            importlib.import_module(module)


@contextmanager
def collecting_no_garbage() -> Iterator[None]:
    """Collect no garbage meanwhile, nor later what was created: loaded modules stay.

    A collection would look at all of their objects, and in a forked process copy their memory.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
