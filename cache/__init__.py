"""The cache: all access to the store (Dragonfly, Redis 6.2+ or Valkey) except the broker's queues.

Open `manager.py` first. The names below are the public API.
"""

import seen_modules

seen_modules.claim(__name__)

from cache.store import driver

driver.load()

from cache.accounts import SessionData, UserData
from cache.arguments import Duration
from cache.coordination.beat_cache import BeatCache
from cache.coordination.held_lock import HeldLock, LockLease
from cache.coordination.limit_models import Cooldown, Demand, SlotRequest, Slots
from cache.coordination.lock import Lock
from cache.coordination.transfer_limits import TransferLimits
from cache.downloads.download_cache import DownloadCache
from cache.keys import KeyBuilder
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
    UserInvalidation,
)
from cache.platform.catalog_cache import CatalogCache
from cache.platform.catalog_entry import CatalogEntry
from cache.platform.counts import CacheCounts
from cache.platform.service import CacheService
from cache.platform.session_cache import SessionCache
from cache.records import STORED
from cache.store.aio import AsyncStore
from cache.store.sync import SyncStore
from cache.ttl import CATALOG as TTL_CATALOG
from cache.ttl import DOWNLOAD as TTL_DOWNLOAD
from cache.ttl import LOCK as TTL_LOCK
from cache.ttl import RATE_LIMIT as TTL_RATE_LIMIT
from cache.ttl import RECOMMENDATION as TTL_RECOMMENDATION
from cache.ttl import SEARCH as TTL_SEARCH
from cache.ttl import SESSION as TTL_SESSION
from cache.ttl import USER as TTL_USER

__all__ = [
    "STORED",
    "TTL_CATALOG",
    "TTL_DOWNLOAD",
    "TTL_LOCK",
    "TTL_RATE_LIMIT",
    "TTL_RECOMMENDATION",
    "TTL_SEARCH",
    "TTL_SESSION",
    "TTL_USER",
    "AsyncStore",
    "BeatCache",
    "BeatStatus",
    "CacheCounts",
    "CacheManager",
    "CacheService",
    "CacheStats",
    "CatalogCache",
    "CatalogEntry",
    "Cooldown",
    "Demand",
    "DownloadCache",
    "DownloadPage",
    "DownloadProgress",
    "DownloadTotals",
    "Duration",
    "HealthReport",
    "HeldLock",
    "KeyBuilder",
    "Lock",
    "LockGrant",
    "LockLease",
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
