"""Counts of this process's cache reads and writes."""

from __future__ import annotations

import threading
from typing import Literal, get_args

from pydantic import NonNegativeInt, computed_field

from cache.records import Record
from cache.store.fork import reset_after_fork


class CacheCounts(Record):
    """Counts since the process started. A `get_or_load` is one read."""

    hits: NonNegativeInt = 0
    """Reads that found a value, including client-side and stale hits."""
    client_side_hits: NonNegativeInt = 0
    """Hits in the client-side cache."""
    stale_hits: NonNegativeInt = 0
    """Hits on a stale value while one caller refreshes it."""
    misses: NonNegativeInt = 0
    """Reads that found no value."""
    old_versions: NonNegativeInt = 0
    """Misses on a value of another schema version."""
    unreadable: NonNegativeInt = 0
    """Misses on a value that did not fit its model; it was deleted."""
    unavailable_reads: NonNegativeInt = 0
    """Misses because the store did not answer."""
    dropped_writes: NonNegativeInt = 0
    """Values that were not stored: the store did not answer, or they were too large."""
    undecided_rate_limits: NonNegativeInt = 0
    """Rate limits that allowed or refused as their `fail` says: the store did not decide."""
    loads: NonNegativeInt = 0
    """Runs of a loader."""
    early_loads: NonNegativeInt = 0
    """Loads that refreshed a value before it expired."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def hit_ratio(self) -> float | None:
        """Share of reads that were hits, 0 to 1; None before the first read."""
        reads = self.hits + self.misses
        return self.hits / reads if reads else None


Count = Literal[
    "hits",
    "client_side_hits",
    "stale_hits",
    "misses",
    "old_versions",
    "unreadable",
    "unavailable_reads",
    "dropped_writes",
    "undecided_rate_limits",
    "loads",
    "early_loads",
]


class Counter:
    """Counts events. Thread-safe."""

    def __init__(self) -> None:
        reset_after_fork(self, Counter._reset)

    def _reset(self) -> None:
        self._mutex = threading.Lock()
        self._numbers: dict[Count, int] = dict.fromkeys(get_args(Count), 0)

    def add(self, *names: Count, amount: int = 1) -> None:
        """Add `amount` to the counts `names`."""
        with self._mutex:
            for name in names:
                self._numbers[name] += amount

    def read(self) -> CacheCounts:
        """Return a consistent snapshot of all counts."""
        with self._mutex:
            return CacheCounts(**self._numbers)
