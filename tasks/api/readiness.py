"""Whether the service can work: the names of its parts that do not."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Mapping

from sqlalchemy import text

from domain.errors import SeenError
from worker.broker.queues import DOWNLOAD_QUEUES, MAINTENANCE_QUEUE
from worker.runtime import Runtime

#: Seconds for which an answer is given again: anyone may ask, and each check asks servers.
_FRESH = 1.0


class Readiness:
    """Whether the service of a runtime can work. Callers at the same time share one check."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._mutex = threading.Lock()
        self._last: list[str] | None = None
        self._checked_at = 0.0

    def failed(self) -> list[str]:
        """Return the names of the parts that do not work; empty if all do."""
        last = self._last
        # While another caller checks, the last answer is given, so that none waits for a dead server.
        if not self._mutex.acquire(blocking=last is None):
            return last or []
        try:
            if self._last is None or time.monotonic() - self._checked_at > _FRESH:
                self._last = failed_parts(self._runtime)
                self._checked_at = time.monotonic()
            return self._last
        finally:
            self._mutex.release()


def failed_parts(runtime: Runtime) -> list[str]:
    """Return which of database, store, beat, workers and disk do not work; empty if all do."""
    return [name for name, works in _CHECKS.items() if not _try(works, runtime)]


def part_names() -> list[str]:
    """Return the names of all parts."""
    return list(_CHECKS)


def _try(works: Callable[[Runtime], bool], runtime: Runtime) -> bool:
    try:
        return works(runtime)
    except (SeenError, OSError):
        return False


def _database(runtime: Runtime) -> bool:
    with runtime.database.read() as connection:
        return connection.execute(text("SELECT 1")).scalar() == 1


def _store(runtime: Runtime) -> bool:
    runtime.cache.download.totals()
    return True


def _beat(runtime: Runtime) -> bool:
    status = runtime.cache.beat.status()
    return status is not None and not status.is_missing


def _workers(runtime: Runtime) -> bool:
    """Return whether all queues are served."""
    served = {queue for worker in runtime.cache.workers.running() for queue in worker.queues}
    return served.issuperset({*DOWNLOAD_QUEUES, MAINTENANCE_QUEUE})


def _disk(runtime: Runtime) -> bool:
    """Return whether the download folder is there with room to write, as far as this machine sees it."""
    usage = shutil.disk_usage(runtime.files_dir)
    is_usable = os.access(runtime.files_dir, os.R_OK | os.X_OK)
    return is_usable and usage.free > runtime.settings.min_free_bytes


_CHECKS: Mapping[str, Callable[[Runtime], bool]] = {
    "database": _database,
    "store": _store,
    "beat": _beat,
    "workers": _workers,
    "disk": _disk,
}
