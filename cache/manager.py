"""The cache manager: one connection, the caches above it, its health and its figures."""

from __future__ import annotations

import secrets
import time
from types import TracebackType
from typing import Any, Self

from redis import Redis
from redis.exceptions import RedisError

from cache.connection import connect, store_errors
from cache.download_cache import DownloadCache
from cache.keys import KeyBuilder
from cache.lock import Lock
from cache.models import CacheStats, HealthReport
from cache.service import CacheService
from domain.errors import StoreUnavailableError
from settings import Settings

_PROBE_TTL = 10.0


class CacheManager:
    """Owns the connection to the store; also a context manager that closes it.

    Attributes:
        service: typed low-level access.
        download: progress of downloads.
        keys: the key builder.
    """

    def __init__(
        self, client: Redis, keys: KeyBuilder, download: DownloadCache, *, lock_ttl: float
    ) -> None:
        self.client = client
        self.keys = keys
        self.service = CacheService(client, keys)
        self.download = download
        self._lock_ttl = lock_ttl

    @classmethod
    def connect(cls, settings: Settings, *, retries: int = 2) -> CacheManager:
        """Build the manager from settings; the first command connects."""
        client = connect(settings, retries=retries)
        keys = KeyBuilder(settings.cache_namespace)
        download = DownloadCache(
            client,
            keys,
            progress_ttl=settings.progress_ttl,
            unpersisted_ttl=settings.unpersisted_ttl,
        )
        return cls(client, keys, download, lock_ttl=settings.lock_ttl)

    def close(self) -> None:
        """Close every connection; the manager may still be used and connects again."""
        self.client.close()
        self.service.close()
        self.download.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def download_lock(self, job_id: str) -> Lock:
        """Return the (not yet acquired) lock of one job."""
        return Lock(self.client, self.keys.download_lock_key(job_id), ttl=self._lock_ttl)

    def lock(self, resource: str, *, ttl: float | None = None) -> Lock:
        """Return the (not yet acquired) lock of any resource; `ttl` in seconds."""
        return Lock(self.client, self.keys.lock_key(resource), ttl=ttl or self._lock_ttl)

    def which_locks_live(self, job_ids: list[str]) -> set[str]:
        """Return those of `job_ids` whose download lock is held, in one round trip."""
        if not job_ids:
            return set()
        with store_errors(), self.client.pipeline(transaction=False) as pipe:
            for job_id in job_ids:
                pipe.exists(self.keys.download_lock_key(job_id))
            held = pipe.execute()
        return {job_id for job_id, exists in zip(job_ids, held, strict=True) if exists}

    def ping(self) -> float:
        """Return the round-trip time in milliseconds; raise StoreUnavailableError without answer."""
        started = time.perf_counter()
        with store_errors():
            self.client.ping()
        return _elapsed_ms(started)

    def health_check(self) -> HealthReport:
        """Write a key of its own, read it back, delete it. Never raises, never leaves a key."""
        key = self.keys.health_key(secrets.token_hex(8))
        written = secrets.token_hex(16)
        times: dict[str, float] = {"write_ms": 0.0, "read_ms": 0.0, "delete_ms": 0.0}
        problem = None
        try:
            started = time.perf_counter()
            self.service.set(key, written, _PROBE_TTL)
            times["write_ms"] = _elapsed_ms(started)
            started = time.perf_counter()
            read = self.service.get(key, str)
            times["read_ms"] = _elapsed_ms(started)
            started = time.perf_counter()
            self.service.delete(key)
            times["delete_ms"] = _elapsed_ms(started)
            if read != written:
                problem = "what was written did not come back"
        except (StoreUnavailableError, RedisError) as error:
            # RedisError: it answers, but with a refusal, such as missing rights.
            problem = str(error)
        return HealthReport(ok=problem is None, error=problem, **times)

    def stats(self) -> CacheStats:
        """Return the store's figures; raise StoreUnavailableError without answer."""
        with store_errors():
            info: dict[str, Any] = {}
            for section in ("server", "clients", "memory", "stats", "keyspace"):
                info |= self.client.info(section)
            db_size = self.client.dbsize()
        hits, misses = int(info.get("keyspace_hits", 0)), int(info.get("keyspace_misses", 0))
        return CacheStats(
            server=_server(info),
            version=_version(info),
            db_size=db_size,
            used_memory=int(info.get("used_memory", 0)),
            max_memory=int(info.get("maxmemory", 0)),
            hits=hits,
            misses=misses,
            hit_ratio=hits / (hits + misses) if hits + misses else None,
            evicted_keys=int(info.get("evicted_keys", 0)),
            expired_keys=int(info.get("expired_keys", 0)),
            connected_clients=int(info.get("connected_clients", 0)),
            uptime_seconds=int(info.get("uptime_in_seconds", 0)),
            keyspace={
                name: int(value["keys"])
                for name, value in info.items()
                if name.startswith("db") and isinstance(value, dict)
            },
        )


def _server(info: dict[str, Any]) -> str:
    if "dragonfly_version" in info:
        return "dragonfly"
    return "valkey" if info.get("server_name") == "valkey" or "valkey_version" in info else "redis"


def _version(info: dict[str, Any]) -> str:
    raw = info.get("dragonfly_version") or info.get("valkey_version") or info.get("redis_version")
    return str(raw or "unknown").removeprefix("df-").removeprefix("v")


def _elapsed_ms(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 3)
