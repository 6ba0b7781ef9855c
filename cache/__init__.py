"""The cache layer: everything that knows Dragonfly. It also runs on Redis 6.2+ and Valkey."""

from cache.download_cache import DownloadCache
from cache.keys import KeyBuilder
from cache.lock import Lock
from cache.manager import CacheManager
from cache.models import CacheStats, DownloadProgress, HealthReport
from cache.service import CacheService

__all__ = [
    "CacheManager",
    "CacheService",
    "CacheStats",
    "DownloadCache",
    "DownloadProgress",
    "HealthReport",
    "KeyBuilder",
    "Lock",
]
