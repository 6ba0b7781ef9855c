"""What the functions of accounts need of their process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from cache import CacheManager
from cache.store.sync import SyncStore
from database import Database
from settings import Settings
from worker.metrics.instruments import Instruments


class AccountRuntime(Protocol):
    """The parts of a process that accounts use: of a `Runtime`, or `AccountParts` without Celery."""

    @property
    def settings(self) -> Settings:
        """Of this process."""

    @property
    def database(self) -> Database:
        """Has users, keys and links."""

    @property
    def cache(self) -> CacheManager[SyncStore]:
        """Has sessions and rate limits."""

    @property
    def now(self) -> Callable[[], datetime]:
        """Return the wall clock, aware UTC."""

    @property
    def instruments(self) -> Instruments:
        """Count what is refused."""


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountParts:
    """The least that accounts need, for commands."""

    settings: Settings
    database: Database
    cache: CacheManager[SyncStore]
    now: Callable[[], datetime] = field(default=_now)
    instruments: Instruments = field(default_factory=Instruments)
