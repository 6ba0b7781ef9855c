"""Which jobs have changed since the last call: one reader for all who watch.

SQL's events show each change of state, the index of active downloads shows each update of progress. A
poll costs as much as there are changes, however many jobs there are.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import takewhile

from cache.downloads.download_cache import DownloadCache
from database import JobRepository
from database.watching.event_log import EventLog, EventNumber
from domain.errors import StoreError
from domain.job import RUNNING
from tasks.api.job_view import JobReader, JobView

#: Events, and running jobs, that one poll reads at most.
_LIMIT = 10_000
#: A transaction commits its events after later ones have been read. So long, a poll looks back at them.
_OVERLAP = 5.0
#: Every so many seconds it looks back further, for transactions that took long.
_LONG_OVERLAP = 60.0
_LONG_OVERLAP_EVERY = 5.0
#: Rows of running jobs are compared at least so often: an event may be merged into an earlier one.
_ROWS_EVERY = 2.0
#: Before the first event.
_NONE = EventNumber(0, "")


@dataclass(frozen=True, slots=True)
class Changes:
    """What has changed.

    Attributes:
        views: jobs that have changed, or may have.
        removed: ids of jobs that ran at the last poll, and are no longer in SQL.
        is_complete: False when more has changed than one poll reads: read the jobs again.
    """

    views: list[JobView] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    is_complete: bool = True


class ChangeFeed:
    """Finds what has changed since the last poll. One thread at a time.

    Without the store, changes of state in SQL are still found.

    Args:
        jobs: the repository.
        events: the events of the same database.
        cache: live progress.
    """

    def __init__(self, jobs: JobRepository, events: EventLog, cache: DownloadCache) -> None:
        self._events, self._cache = events, cache
        self._reader = JobReader(jobs, cache)
        self._store_error: StoreError | None = None
        self._seen: dict[EventNumber, float] = {}
        self._recent = self._oldest = _NONE
        self._looked_back_at = self._compared_at = 0.0
        self._updates: dict[str, int] = {}
        self._running: set[str] = set()

    @property
    def store_error(self) -> StoreError | None:
        """Why progress could not be read at the last poll; None if it could."""
        return self._store_error or self._reader.store_error

    def start(self) -> None:
        """Forget what is known: only what changes from now on is found.

        Raises:
            DatabaseUnavailableError: as from `poll`.
        """
        self._seen.clear()
        self._recent = self._oldest = self._events.newest() or _NONE
        self._updates = self._read_updates()
        self._running = set(self._updates)
        self._looked_back_at = self._compared_at = time.monotonic()

    def poll(self) -> Changes:
        """Return what has changed since the last poll.

        Raises:
            DatabaseUnavailableError: no change is lost by that: the next poll returns it.
        """
        now = time.monotonic()
        events = self._read_events(now)
        if events is None:
            self.start()
            return Changes(is_complete=False)
        changed = {one.job_id for one in events if one not in self._seen}
        updates = self._read_updates()
        changed |= {job_id for job_id, at in updates.items() if self._updates.get(job_id) != at}
        changed |= self._running - updates.keys()
        if now - self._compared_at >= _ROWS_EVERY:
            self._compared_at = now
            changed |= self._running
        changes = self._read(changed)
        # Only now: after an error the next poll finds the same again.
        self._remember(events, now)
        self._updates = updates
        return changes

    def _read(self, job_ids: set[str]) -> Changes:
        views = self._reader.read(sorted(job_ids), skip_missing=True)
        found = {view.job.id: view for view in views}
        removed = [one for one in job_ids & self._running if one not in found]
        self._running -= job_ids
        self._running |= {one for one, view in found.items() if view.status in RUNNING}
        return Changes(views, removed)

    def _read_updates(self) -> dict[str, int]:
        """Return when each running job was last updated; what is known, while the store is away."""
        try:
            updates = dict(self._cache.active_updates(_LIMIT))
        except StoreError as error:
            self._store_error = error
            return self._updates
        self._store_error = None
        return updates

    # ── events that were read ───────────────────────────────────────────────────────────────────

    def _read_events(self, now: float) -> list[EventNumber] | None:
        """Return events after one that was read before; None if that is gone, or they are too many."""
        looks_far = now - self._looked_back_at >= _LONG_OVERLAP_EVERY
        if looks_far:
            self._looked_back_at = now
        for known in [self._oldest] if looks_far else [self._recent, self._oldest]:
            found = self._events.since(known.number, limit=_LIMIT + 1)
            if len(found) > _LIMIT:
                return None
            if known == _NONE:
                return found
            if found and found[0] == known:
                return found[1:]
            # It was deleted with its job; SQLite may have given its number to another event.
        return None

    def _remember(self, events: Iterable[EventNumber], now: float) -> None:
        for one in events:
            self._seen.setdefault(one, now)
        # They are in the order in which they were read: neither loop passes all of them.
        gone = list(takewhile(lambda one: self._seen[one] < now - _LONG_OVERLAP, self._seen))
        for one in gone:
            del self._seen[one]
        self._oldest = max([self._oldest, *gone])
        old = (one for one in reversed(self._seen) if self._seen[one] < now - _OVERLAP)
        self._recent = next(old, self._oldest)
