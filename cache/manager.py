"""The cache manager: connections to the store, the caches that use them, health and statistics."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Iterable
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from cache import arguments
from cache.arguments import Duration
from cache.coordination.beat_cache import BeatCache
from cache.coordination.data_loss import DataLossDetector
from cache.coordination.lock import Lock
from cache.coordination.process_metrics import ProcessMetrics
from cache.coordination.transfer_limits import TransferLimits
from cache.coordination.worker_heartbeats import WorkerHeartbeats
from cache.downloads.download_cache import DownloadCache
from cache.key_types import keys_of_wrong_type
from cache.keys import KeyBuilder
from cache.models import CacheStats, HealthReport, MaintenanceReport, UserInvalidation
from cache.platform import codec
from cache.platform.catalog_cache import CatalogCache
from cache.platform.client_side_cache import ClientSideCache
from cache.platform.counts import CacheCounts
from cache.platform.service import CacheService
from cache.platform.session_cache import SessionCache
from cache.platform.values import Values
from cache.stats import SCAN_LIMIT, describe, read_stats
from cache.store.aio import AsyncStore
from cache.store.circuit_breaker import CircuitBreaker
from cache.store.connection import async_client, fail_fast_policy, reliable_policy, sync_client
from cache.store.flow import Batch, Flow
from cache.store.operation import Operations, S, operation
from cache.store.outage_log import OutageLog
from cache.store.sync import SyncStore
from domain.errors import InvalidInputError, SeenError
from seen_local.discovery import with_running_store
from settings import Settings

logger = logging.getLogger(__name__)

_PROBE_TTL_MS = 10_000
#: Progress that was not updated for this many seconds is stale, by default.
STALE_AFTER = 3600.0
#: Key families in the client-side cache. Not sessions: a deleted session must be gone everywhere
#: at once.
CLIENT_SIDE_FAMILIES = ("catalog", "recommendation")


class CacheManager(Operations[S]):
    """Owns the connections to the store; ``with`` (``async with`` on asyncio) closes them.

    There are two sets of connections. The reliable one retries; it is for progress, locks of downloads
    and maintenance. The fail-fast one is for cached values: it waits at most `cache_budget` seconds and
    has a circuit breaker (`cache.store.circuit_breaker`).

    Attributes:
        service: typed low-level access (fail-fast).
        session: sessions, users, rate limits, locks by name (fail-fast).
        catalog: catalog entries (fail-fast).
        download: progress of downloads (reliable).
        limits: slots, cooldowns and rates of transfers (reliable).
        data_loss: detects that the store has lost data (reliable).
        beat: beat's last tick and claims of periodic tasks (reliable).
        workers: which workers run (reliable).
        metrics: counts of all processes (reliable).
        keys: the key builder.
    """

    def __init__(
        self,
        reliable: S,
        fail_fast: S,
        settings: Settings,
        client_side: ClientSideCache | None,
        *,
        ping_on_enter: bool = False,
    ) -> None:
        super().__init__(reliable)
        self._ping_on_enter = ping_on_enter
        self.keys = KeyBuilder(settings.cache_namespace)
        self._fail_fast = fail_fast
        self._client_side = client_side
        values = Values(self.keys, client_side)
        self.service = CacheService(fail_fast, values)
        self.session = SessionCache(fail_fast, values)
        self.catalog = CatalogCache(fail_fast, values)
        self.download = DownloadCache(
            reliable,
            self.keys,
            progress_ttl=settings.progress_ttl,
            unpersisted_ttl=settings.unpersisted_ttl,
        )
        self.limits = TransferLimits(reliable, self.keys)
        self.data_loss = DataLossDetector(reliable, self.keys)
        self.beat = BeatCache(reliable, self.keys)
        self.workers = WorkerHeartbeats(reliable, self.keys)
        self.metrics = ProcessMetrics(reliable, self.keys)
        self._lock_ttl = settings.lock_ttl

    # ── connecting ───────────────────────────────────────────────────────────────────────────────

    @classmethod
    def connect(
        cls,
        settings: Settings,
        *,
        retries: int = 2,
        client_side_families: Iterable[str] = CLIENT_SIDE_FAMILIES,
        require_store: bool = False,
    ) -> CacheManager[SyncStore]:
        """Build the manager from settings; the first command connects.

        Settings that name no store, and no database server, stand for the local stack that runs.

        Args:
            retries: retries of a round trip on the reliable connections; 0 for callers that retry by
                themselves, such as the progress flusher.
            client_side_families: key families of the client-side cache.
            require_store: raise StoreUnavailableError if the store does not answer now. Without it a
                program also starts, and works, while the store is down.

        Raises:
            OtherVersionError: the local stack that runs is of another version.
        """
        settings = with_running_store(_checked(settings))
        breaker = CircuitBreaker(outages=OutageLog(settings.cache_addr))
        slow, fast = reliable_policy(settings, retries), fail_fast_policy(settings)
        manager = CacheManager(
            SyncStore(sync_client(settings, slow), slow),
            SyncStore(sync_client(settings, fast), fast, breaker),
            settings,
            _client_side_cache(settings, client_side_families, breaker),
        )
        if require_store:
            try:
                manager.ping()
            except BaseException:
                manager.close()
                raise
        return manager

    @classmethod
    def connect_async(
        cls,
        settings: Settings,
        *,
        retries: int = 2,
        client_side_families: Iterable[str] = CLIENT_SIDE_FAMILIES,
        require_store: bool = False,
    ) -> CacheManager[AsyncStore]:
        """Build the manager for asyncio: the same objects, whose methods are coroutines.

        Args:
            require_store: ``async with`` raises StoreUnavailableError if the store does not answer.
        """
        settings = with_running_store(_checked(settings))
        breaker = CircuitBreaker(outages=OutageLog(settings.cache_addr))
        slow, fast = reliable_policy(settings, retries), fail_fast_policy(settings)
        return CacheManager(
            AsyncStore(async_client(settings, slow), slow),
            AsyncStore(async_client(settings, fast), fast, breaker),
            settings,
            _client_side_cache(settings, client_side_families, breaker),
            ping_on_enter=require_store,
        )

    @property
    def client(self: CacheManager[SyncStore]) -> Redis:
        """A redis-py client of the same server, for commands without a method here."""
        return self.store.client

    def close(self: CacheManager[SyncStore]) -> None:
        """Close all connections; a later command connects again."""
        self._check_side(SyncStore)
        self._close_client_side()
        self._fail_fast.close()
        self.store.close()

    async def aclose(self: CacheManager[AsyncStore]) -> None:
        """Close all connections; a later command connects again, also on another event loop."""
        self._check_side(AsyncStore)
        self._close_client_side()
        await self._fail_fast.close()
        await self.store.close()

    def _close_client_side(self) -> None:
        if self._client_side is not None:
            self._client_side.close()

    def __enter__(self: CacheManager[SyncStore]) -> CacheManager[SyncStore]:
        self._check_side(SyncStore)
        return self

    def __exit__(self: CacheManager[SyncStore], *exc_info: object) -> None:
        self.close()

    async def __aenter__(self: CacheManager[AsyncStore]) -> CacheManager[AsyncStore]:
        self._check_side(AsyncStore)
        if self._ping_on_enter:
            try:
                await self.ping()
            except BaseException:
                await self.aclose()
                raise
        return self

    async def __aexit__(self: CacheManager[AsyncStore], *exc_info: object) -> None:
        await self.aclose()

    # ── locks of downloads ───────────────────────────────────────────────────────────────────────

    def download_lock(self, job_id: str) -> Lock[S]:
        """Return the lock of one job, not yet acquired."""
        return Lock(self.store, self.keys.download_lock_key(job_id), ttl=self._lock_ttl)

    def lock(self, resource: str, *, ttl: Duration | None = None) -> Lock[S]:
        """Return the lock of a resource of the service, not yet acquired.

        Applications use `session.lock`, which refuses the names that the service reserves.
        """
        key = self.keys.lock_key(resource)
        return Lock(self.store, key, ttl=self._lock_ttl if ttl is None else ttl)

    @operation
    def held_download_locks(self, job_ids: list[str]) -> Flow[set[str]]:
        """Return those `job_ids` whose download lock is held, in one round trip."""
        job_ids = arguments.strings("job_ids", job_ids)
        if not job_ids:
            return set()
        keys = (self.keys.download_lock_key(job_id) for job_id in job_ids)
        held = yield Batch(*(("EXISTS", key) for key in keys))
        return {job_id for job_id, exists in zip(job_ids, held, strict=True) if exists}

    # ── health and statistics ────────────────────────────────────────────────────────────────────

    @operation
    def keys_of_wrong_type(self) -> Flow[dict[str, str]]:
        """Return the service's shared keys that hold another Redis type, with that type."""
        return keys_of_wrong_type(self.keys)

    @operation
    def ping(self) -> Flow[float]:
        """Return the round-trip time in milliseconds. Raises StoreUnavailableError without a reply."""
        started = time.perf_counter()
        yield Batch(("PING",))
        return _elapsed_ms(started)

    @operation
    def health_check(self) -> Flow[HealthReport]:
        """Write a key, read it back and delete it; read the time of beat's last tick.

        An error is in the report, not raised. The key is deleted or expires.
        """
        key = self.keys.health_key(secrets.token_hex(8))
        written = codec.encode(secrets.token_hex(16))
        times = {"write_ms": 0.0, "read_ms": 0.0, "delete_ms": 0.0}
        problem, beat = None, None
        steps = {
            "write_ms": ("SET", key, written, "PX", _PROBE_TTL_MS),
            "read_ms": ("GET", key),
            # If this step does not run, the key expires.
            "delete_ms": ("DEL", key),
        }
        replies: list[Any] = []
        try:
            for name, command in steps.items():
                started = time.perf_counter()
                replies += yield Batch(command)
                times[name] = _elapsed_ms(started)
            if replies[1] != written:
                problem = "the value read back is not the value written"
            beat = yield from BeatCache.status.flow(self.beat)
        except (SeenError, RedisError) as error:
            # The reply may be a refusal, such as missing rights.
            problem = str(error)
        beat_age = None if beat is None else beat.age_seconds
        return HealthReport(ok=problem is None, error=problem, beat_age=beat_age, **times)

    @operation
    def stats(self, *, scan_limit: int = SCAN_LIMIT) -> Flow[CacheStats]:
        """Return the store's statistics. Raises StoreUnavailableError without a reply.

        Args:
            scan_limit: number of keys that are scanned, approximately, to count families.
        """
        arguments.integer("scan_limit", scan_limit)
        return read_stats(self.keys, scan_limit)

    def counts(self) -> CacheCounts:
        """Return this process's counts of reads and writes."""
        return self.service.counts()

    # ── invalidation and maintenance ─────────────────────────────────────────────────────────────

    @operation
    def invalidate_user(self, user_id: str) -> Flow[UserInvalidation]:
        """Delete all of a user's data: sessions, profile, catalogs and progress; return the counts.

        Raises StoreUnavailableError without a store; earlier deletions are not undone.
        """
        # Sessions first: they are credentials.
        sessions = yield from SessionCache.invalidate_user_sessions.flow(self.session, user_id)
        profile = yield from SessionCache.invalidate_user.flow(self.session, user_id)
        catalogs = yield from CatalogCache.invalidate_user_catalog.flow(self.catalog, user_id)
        downloads = yield from DownloadCache.invalidate_user_downloads.flow(self.download, user_id)
        return UserInvalidation(
            sessions=sessions, profile=int(profile), catalogs=catalogs, downloads=downloads
        )

    @operation
    def delete_keys_by_pattern(self, pattern: str) -> Flow[int]:
        """Delete the keys of the namespace that match a glob, in small steps; return how many."""
        return CacheService.delete_by_pattern.flow(self.service, pattern)

    @operation
    def run_maintenance(self, *, stale_after: Duration = STALE_AFTER) -> Flow[MaintenanceReport]:
        """Remove progress that was not updated for `stale_after`; log the store's statistics.

        For applications without Celery, about every five minutes. Beat's tasks `download.cleanup_stale`
        and `cache.log_stats` do the same.
        """
        removed = yield from DownloadCache.cleanup_stale_progress.flow(self.download, stale_after)
        stats = yield from read_stats(self.keys, SCAN_LIMIT)
        logger.info("Cache: %s", describe(stats))
        return MaintenanceReport(stale=removed.stale, gone=removed.gone, stats=stats)


def _checked(settings: Settings) -> Settings:
    if not isinstance(settings, Settings):
        # Without the value: a URL may have a password.
        remedy = 'Pass settings.load(), or Settings(cache_addr="host:port").'
        raise InvalidInputError("settings", type(settings).__name__, remedy)
    return settings


def _client_side_cache(
    settings: Settings, families: Iterable[str], breaker: CircuitBreaker
) -> ClientSideCache | None:
    if not settings.cache_client_side_entries:
        return None
    connect = sync_client(
        settings, fail_fast_policy(settings), protocol=3
    ).connection_pool.make_connection
    prefixes = [f"{settings.cache_namespace}:{family}:" for family in families]
    return ClientSideCache(
        connect, prefixes, entries=settings.cache_client_side_entries, breaker=breaker
    )


def _elapsed_ms(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 3)
