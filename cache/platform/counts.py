"""What a cache of this process has done so far, in numbers."""

from __future__ import annotations

import threading
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, NonNegativeInt, computed_field

from cache.store.fork import reset_after_fork


class CacheCounts(BaseModel):
    """Since this process began. A get_or_load counts as one read."""

    model_config = ConfigDict(frozen=True)

    hits: NonNegativeInt = 0
    """Reads that found a value, client_side hits and stale ones included."""
    client_side_hits: NonNegativeInt = 0
    """Hits that were served from this process's memory."""
    stale_hits: NonNegativeInt = 0
    """Hits on a value past its freshness, while somebody loads it anew."""
    misses: NonNegativeInt = 0
    """Reads that found none."""
    old_versions: NonNegativeInt = 0
    """Misses on a value of another schema version."""
    unreadable: NonNegativeInt = 0
    """Misses on a value that did not fit its model, and was deleted."""
    unavailable_reads: NonNegativeInt = 0
    """Misses because the store did not answer."""
    dropped_writes: NonNegativeInt = 0
    """Values that were not stored: the store did not answer, or they were too large."""
    loads: NonNegativeInt = 0
    """Calls of a loader."""
    early_loads: NonNegativeInt = 0
    """Of these, before the value had expired."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def hit_ratio(self) -> float | None:
        """Hits of all reads, 0 to 1; None until something has been read."""
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
    "loads",
    "early_loads",
]


class Counter:
    """Counts, from any thread."""

    def __init__(self) -> None:
        reset_after_fork(self, Counter._reset)

    def _reset(self) -> None:
        self._mutex = threading.Lock()
        self._numbers: dict[Count, int] = dict.fromkeys(get_args(Count), 0)

    def add(self, *names: Count, amount: int = 1) -> None:
        """Count something."""
        with self._mutex:
            for name in names:
                self._numbers[name] += amount

    def read(self) -> CacheCounts:
        """Return all counts of one moment."""
        with self._mutex:
            return CacheCounts(**self._numbers)
