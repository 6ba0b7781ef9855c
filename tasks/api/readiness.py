"""Whether the service can work: each of its parts, and what to do about one that does not."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sqlalchemy import text

from domain.errors import SeenError
from worker.broker.queues import DOWNLOAD_QUEUES, MAINTENANCE_QUEUE
from worker.runtime import Runtime

#: Seconds for which an answer is given again: anyone may ask, and each check asks servers.
_FRESH = 1.0


@dataclass(frozen=True, slots=True)
class Part:
    """What was found about a part of the service.

    Attributes:
        name: database, store, beat, workers or disk.
        works: whether it does.
        detail: what was found; it names no server and no folder.
        remedy: what to do; empty if it works.
    """

    name: str
    works: bool
    detail: str
    remedy: str = ""


class Readiness:
    """Whether the service of a runtime can work. Callers at the same time share one check."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._mutex = threading.Lock()
        self._last: list[Part] | None = None
        self._checked_at = 0.0

    def failed(self) -> list[str]:
        """Return the names of the parts that do not work; empty if all do."""
        return [part.name for part in self.parts() if not part.works]

    def parts(self) -> list[Part]:
        """Return all parts."""
        last = self._last
        # While another caller checks, the last answer is given, so that none waits for a dead server.
        if not self._mutex.acquire(blocking=last is None):
            return last or []
        try:
            if self._last is None or time.monotonic() - self._checked_at > _FRESH:
                self._last = examine(self._runtime)
                self._checked_at = time.monotonic()
            return self._last
        finally:
            self._mutex.release()


def part_names() -> list[str]:
    """Return the names of all parts."""
    return list(_CHECKS)


def examine(runtime: Runtime) -> list[Part]:
    """Return all parts as they are now."""
    return [_examine(name, runtime) for name in _CHECKS]


def _examine(name: str, runtime: Runtime) -> Part:
    try:
        works, detail = _CHECKS[name](runtime)
    except (SeenError, OSError):
        works, detail = False, _NO_ANSWER.get(name, "unknown: the store does not answer")
    return Part(name, works, detail, "" if works else _REMEDIES[name])


#: Whether a part works, and what was found.
_Found = tuple[bool, str]


def _database(runtime: Runtime) -> _Found:
    with runtime.database.read() as connection:
        return connection.execute(text("SELECT 1")).scalar() == 1, "answers"


def _store(runtime: Runtime) -> _Found:
    runtime.cache.download.totals()
    return True, "answers"


def _beat(runtime: Runtime) -> _Found:
    status = runtime.cache.beat.status()
    if status is None:
        return False, "has not ticked within a day"
    return not status.is_missing, f"ticked {status.age_seconds:.0f} s ago"


def _workers(runtime: Runtime) -> _Found:
    """Look whether all queues are served."""
    running = runtime.cache.workers.running()
    served = {queue for worker in running for queue in worker.queues}
    missing = sorted({*DOWNLOAD_QUEUES, MAINTENANCE_QUEUE} - served)
    if missing:
        return False, f"{len(running)} running; none serves {', '.join(missing)}"
    return True, f"{len(running)} running, which serve all queues"


def _disk(runtime: Runtime) -> _Found:
    """Look whether the download folder is there with room to write, as far as this machine sees it."""
    free = shutil.disk_usage(runtime.files_dir).free
    if not os.access(runtime.files_dir, os.R_OK | os.X_OK):
        return False, "the download folder cannot be read"
    return free > runtime.settings.min_free_bytes, f"{free / 10**9:,.1f} GB free"


_CHECKS: Mapping[str, Callable[[Runtime], _Found]] = {
    "database": _database,
    "store": _store,
    "beat": _beat,
    "workers": _workers,
    "disk": _disk,
}
_NO_ANSWER: Mapping[str, str] = {
    "database": "does not answer",
    "store": "does not answer",
    "disk": "the download folder is not there",
}
_REMEDIES: Mapping[str, str] = {
    "database": "Start it, or set SEEN_DATABASE_URL. Jobs are safe; nothing is accepted until then.",
    "store": "Start it, or set SEEN_CACHE_ADDR. Downloads continue when it is back.",
    "beat": "Start one or two: seen beat (or `seen up`, which runs all services).",
    "workers": "Start them: seen worker, and seen worker --queue maintenance (or `seen up`).",
    "disk": "Free disk space, or repair the download folder (SEEN_DOWNLOAD_DIR). Jobs wait until then.",
}
