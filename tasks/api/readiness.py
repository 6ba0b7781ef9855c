"""Whether the service can work: each of its parts, and what to do about one that does not."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sqlalchemy import text

from domain.errors import SeenError, StoreRefusesError, StoreReplyError
from domain.remedies import parts
from worker.broker.queues import QUEUES
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
        detail, remedy = _CHECKS[name](runtime)
    except (SeenError, OSError) as error:
        detail, remedy = _without_answer(name, error)
    return Part(name, not remedy, detail, remedy)


#: What was found, and what to do; empty if the part works.
_Found = tuple[str, str]


def _without_answer(name: str, error: Exception) -> _Found:
    if name == "store" and isinstance(error, SeenError):
        return _STORE_ERRORS.get(type(error), "does not answer"), parts.of_store(error)
    return _NO_ANSWER[name]


def _database(runtime: Runtime) -> _Found:
    with runtime.database.read() as connection:
        connection.execute(text("SELECT 1")).scalar()
    return "answers", ""


def _store(runtime: Runtime) -> _Found:
    runtime.cache.download.totals()
    return "answers", ""


def _beat(runtime: Runtime) -> _Found:
    status = runtime.cache.beat.status()
    if status is None:
        return "has not ticked within a day", parts.START_BEAT
    return f"ticked {status.age_seconds:.0f} s ago", parts.START_BEAT if status.is_missing else ""


def _workers(runtime: Runtime) -> _Found:
    """Look whether all queues are served."""
    running = runtime.cache.workers.running()
    served = {queue for worker in running for queue in worker.queues}
    missing, remedies = [], []
    for kind, queues in QUEUES.items():
        unserved = [queue for queue in queues if queue not in served]
        missing += unserved
        if unserved:
            remedies.append(parts.of_workers(kind, some_run=len(unserved) < len(queues)))
    if missing:
        return f"{len(running)} running; none serves {', '.join(missing)}", " ".join(remedies)
    return f"{len(running)} running, which serve all queues", ""


def _disk(runtime: Runtime) -> _Found:
    """Look whether the download folder is there with room to write, as far as this machine sees it."""
    free = shutil.disk_usage(runtime.files_dir).free
    if not os.access(runtime.files_dir, os.R_OK | os.X_OK):
        return "the download folder cannot be read", _REPAIR_FOLDER
    is_full = free < runtime.settings.min_free_bytes
    return f"{free / 10**9:,.1f} GB free", parts.FREE_SPACE if is_full else ""


_REPAIR_FOLDER = parts.of_folder("SEEN_DOWNLOAD_DIR")
_CHECKS: Mapping[str, Callable[[Runtime], _Found]] = {
    "database": _database,
    "store": _store,
    "beat": _beat,
    "workers": _workers,
    "disk": _disk,
}
_UNKNOWN = "unknown: the store does not answer"
_NO_ANSWER: Mapping[str, _Found] = {
    "database": ("does not answer", parts.START_DATABASE),
    "beat": (_UNKNOWN, parts.REPAIR_STORE_FOR_BEAT),
    "workers": (_UNKNOWN, parts.REPAIR_STORE_FOR_WORKERS),
    "disk": ("the download folder is not there", _REPAIR_FOLDER),
}
_STORE_ERRORS: Mapping[type[Exception], str] = {
    StoreRefusesError: "refuses what it is asked for",
    StoreReplyError: "another program wrote one of its keys",
}
