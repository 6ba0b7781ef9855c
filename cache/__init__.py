"""The cache layer: everything that knows Dragonfly. It also runs on Redis 6.2+ and Valkey."""

from cache.beat_cache import BeatCache
from cache.catalog_cache import CatalogCache, CatalogEntry
from cache.counts import CacheCounts
from cache.download_cache import DownloadCache
from cache.hold import HeldLock, LockHold
from cache.keys import KeyBuilder
from cache.limit_models import Cooling, Demand, SlotRequest, Slots
from cache.lock import Lock
from cache.manager import CacheManager
from cache.models import (
    BeatStatus,
    CacheStats,
    DownloadPage,
    DownloadProgress,
    DownloadTotals,
    HealthReport,
    LockGrant,
    MaintenanceReport,
    RateDecision,
    RateLimit,
    RateState,
    SessionData,
    UserData,
    UserInvalidation,
)
from cache.service import CacheService
from cache.session_cache import SessionCache
from cache.store.aio import AsyncStore
from cache.store.sync import SyncStore
from cache.transfer_limits import TransferLimits

__all__ = [
    "AsyncStore",
    "BeatCache",
    "BeatStatus",
    "CacheCounts",
    "CacheManager",
    "CacheService",
    "CacheStats",
    "CatalogCache",
    "CatalogEntry",
    "Cooling",
    "Demand",
    "DownloadCache",
    "DownloadPage",
    "DownloadProgress",
    "DownloadTotals",
    "HealthReport",
    "HeldLock",
    "KeyBuilder",
    "Lock",
    "LockGrant",
    "LockHold",
    "MaintenanceReport",
    "RateDecision",
    "RateLimit",
    "RateState",
    "SessionCache",
    "SessionData",
    "SlotRequest",
    "Slots",
    "SyncStore",
    "TransferLimits",
    "UserData",
    "UserInvalidation",
]
