"""The composition root: builds what a process needs to run downloads, once, from settings."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from cache import CacheManager
from cache.store.flow import Flow
from database import Database, JobRepository
from database.operations import Operation
from domain.limits import TOTAL
from settings import Settings
from worker.backoff import RetryPolicy
from worker.broker.client import Broker
from worker.credentials import CredentialCipher
from worker.leases.drain import Drain
from worker.leases.lease import LeaseManager
from worker.limits.claim_pause import ClaimPause
from worker.limits.concurrency import ConcurrencyLimit
from worker.limits.concurrency_shares import ConcurrencyShares
from worker.limits.freed_slots import FreedSlots
from worker.limits.rate_controller import RateController
from worker.limits.slot_queue import SlotQueue
from worker.limits.slots import SlotManager
from worker.limits.total_limit import TotalLimit
from worker.loop.batcher import Batcher
from worker.loop.calls import CallThreads
from worker.loop.event_loop import EventLoopThread
from worker.loop.folder_threads import BESIDE_STUCK, MOST_THREADS, FolderThreads
from worker.loop.job_disk import DiskWatch, JobDisk, OnSilence
from worker.loop.threads import Threads
from worker.metrics.batches import timed_batches
from worker.metrics.catalog import RECEIVED_BYTES, TRANSFER_RETRIES
from worker.metrics.instruments import Instruments
from worker.metrics.publisher import MetricsPublisher
from worker.metrics.reasons import bounded_reason
from worker.outages import OutageLog
from worker.progress.reporter import ProgressReporter
from worker.publishing import JobPublisher, Publication
from worker.storage.destination import Destinations
from worker.storage.disk_space import DiskSpace
from worker.storage.filenames import name_from_disposition, resolve_directory
from worker.storage.local_destinations import LocalDestinations
from worker.transfer.http.address_guard import AddressGuard
from worker.transfer.interfaces import EngineResources, TransferOptions

logger = logging.getLogger(__name__)

#: fsyncs are few and slow; with two threads one slow disk does not delay another.
CHECKPOINT_THREADS = 2
#: Further threads of a pool while all of it are stuck on a disk that hangs.
_BESIDE_STUCK = 64
#: Threads for rare calls that wait for SQL or the broker.
SERVER_THREADS = 8

#: Flows in one pipeline at most. If the store does not answer, each pipeline waits for its timeouts.
STORE_BATCH = 1000

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """The collaborators of one process.

    Entry points take it: the runner and its attempts, the functions of tasks and of the public API,
    commands. What they call takes the parts that it uses.

    Attributes:
        cache: for everything but progress.
        flusher_cache: for progress and rates. Its client does not retry: the next update does.
        event_loop: where jobs run.
        sql: performs operations of jobs, several in one transaction. Called on the event loop.
        store: runs flows of jobs in the store, several in one pipeline. Called on the event loop.
        publish: publishes jobs, several in one pipeline. Called on the event loop.
        worker: this process in rows and logs, ``host:pid``.
        now: the wall clock, aware UTC.
        instruments: count what happens in this process.
        metrics: publishes it, once it is started.
    """

    settings: Settings
    broker: Broker
    cache: CacheManager
    flusher_cache: CacheManager
    database: Database
    jobs: JobRepository
    event_loop: EventLoopThread = field(default_factory=EventLoopThread)
    server_threads: CallThreads = field(
        default_factory=lambda: CallThreads(SERVER_THREADS, "server")
    )
    disk_threads: FolderThreads
    disk_watch: DiskWatch = field(default_factory=DiskWatch)
    sql: Batcher[Operation]
    store: Batcher[Flow[Any]]
    publish: Batcher[Publication]
    reporter: ProgressReporter
    leases: LeaseManager
    slots: SlotManager
    rate_controller: RateController
    drain: Drain
    credential_cipher: CredentialCipher
    engine: EngineResources
    retry_policy: RetryPolicy
    destinations: Destinations
    concurrency_shares: ConcurrencyShares
    concurrency: ConcurrencyLimit = field(default_factory=ConcurrencyLimit)
    claim_pause: ClaimPause = field(default_factory=ClaimPause)
    slot_queue: SlotQueue = field(default_factory=SlotQueue)
    freed_slots: FreedSlots
    outages: OutageLog
    files_dir: Path
    worker: str
    instruments: Instruments
    metrics: MetricsPublisher
    now: Callable[[], datetime] = field(default_factory=lambda: _now)

    @property
    def publisher(self) -> JobPublisher:
        """Publishes messages of this process's jobs, from threads that may wait."""
        return JobPublisher(self.broker, self.jobs, self.now, self.outages)

    def in_thread(
        self, function: Callable[P, R], *arguments: P.args, **options: P.kwargs
    ) -> Awaitable[R]:
        """Call a function that waits for SQL or the broker, in a thread for that. On the event loop."""
        return self.server_threads.call(partial(function, *arguments, **options))

    def disk_of(
        self, directory: str, on_silent: OnSilence, on_answer: OnSilence = lambda _: None
    ) -> JobDisk:
        """Return what calls functions that wait for the disk of a job's folder, in threads for that.

        For the event loop. Those of a disk that hangs take none of the threads of `in_thread`.

        Args:
            directory: of the job.
            on_silent: called once when the disk has not answered for long, while `disk_watch` watches.
            on_answer: called when it answers after all.
        """
        is_whole = directory.startswith("/")
        folder = directory if is_whole else f"{self.files_dir}/{directory}".rstrip("/")
        return JobDisk(self.disk_threads, folder, on_silent, on_answer)

    def resolve(self, directory: str) -> Path:
        """Return the folder of a job's file; raise InvalidInputError when files may not go there."""
        allow_any = self.settings.allow_any_directory
        return resolve_directory(self.files_dir, directory, allow_any=allow_any)

    def recorded_folder(self, directory: str) -> Path:
        """Return the folder of a recorded job, to remove its files: it was allowed when accepted."""
        return resolve_directory(self.files_dir, directory, allow_any=True)

    def close(self) -> None:
        """Close everything: threads before the connections that they use."""
        self.event_loop.close()
        for batcher in (self.sql, self.store, self.publish):
            batcher.close()
        self.disk_threads.shutdown()
        self.server_threads.shutdown()
        self.reporter.close()
        self.leases.close()
        self.slots.close()
        self.rate_controller.close()
        self.engine.checkpoint_pool.shutdown()
        self.engine.hashing_pool.shutdown()
        self.metrics.close()
        self.cache.close()
        self.flusher_cache.close()
        self.broker.close()
        self.database.close()


def _now() -> datetime:
    return datetime.now(UTC)


def build_runtime(settings: Settings, broker: Broker, *, drain: Drain | None = None) -> Runtime:
    """Build a runtime. It connects and starts threads at first use only."""
    database = Database(settings.sqlalchemy_url())
    # An update has a sequence and is sent again by the reporter; the client must not repeat it.
    flusher_cache = CacheManager.connect(settings, retries=0)
    cache = CacheManager.connect(settings)
    jobs = JobRepository(database)
    worker = f"{socket.gethostname()}:{os.getpid()}"
    outages = OutageLog(logger)
    disk_threads = FolderThreads(CallThreads(MOST_THREADS, "disk", beside_stuck=BESIDE_STUCK))
    instruments, files_dir = Instruments(), settings.files_dir.resolve()
    sql, store, publish = _batchers(instruments, jobs, cache, broker, outages)
    return Runtime(
        settings=settings,
        broker=broker,
        cache=cache,
        flusher_cache=flusher_cache,
        database=database,
        jobs=jobs,
        sql=sql,
        store=store,
        publish=publish,
        freed_slots=FreedSlots(sql, publish, _now),
        outages=outages,
        instruments=instruments,
        metrics=MetricsPublisher(instruments, flusher_cache.metrics),
        reporter=_reporter(settings, flusher_cache, instruments),
        leases=LeaseManager(ttl=settings.lock_ttl),
        slots=_slot_manager(settings, cache),
        rate_controller=_rate_controller(settings, flusher_cache, worker),
        drain=drain or Drain(),
        credential_cipher=CredentialCipher(settings.secret_keys),
        disk_threads=disk_threads,
        engine=_engine_resources(settings, instruments),
        retry_policy=RetryPolicy(first=settings.retry_backoff, longest=settings.retry_backoff_max),
        destinations=LocalDestinations(files_dir, DiskSpace(settings.min_free_bytes)),
        concurrency_shares=ConcurrencyShares(jobs, settings.concurrency_share),
        files_dir=files_dir,
        worker=worker,
    )


def _batchers(
    instruments: Instruments,
    jobs: JobRepository,
    cache: CacheManager,
    broker: Broker,
    outages: OutageLog,
) -> tuple[Batcher[Operation], Batcher[Flow[Any]], Batcher[Publication]]:
    """Return what does operations, flows and publications together, each measured."""
    timed = partial(timed_batches, instruments)
    publisher = JobPublisher(broker, jobs, _now, outages)
    return (
        Batcher("sql", timed("database", jobs.perform)),
        Batcher("store", timed("store", cache.store.run_together), limit=STORE_BATCH),
        Batcher("publish", timed("broker", publisher.publish_all)),
    )


def _reporter(
    settings: Settings, cache: CacheManager, instruments: Instruments
) -> ProgressReporter:
    return ProgressReporter(
        cache.download,
        on_received=lambda received: instruments.count(RECEIVED_BYTES, by=received),
        flush_interval=settings.flush_interval,
        heartbeat_interval=settings.heartbeat_interval,
    )


def _rate_controller(settings: Settings, cache: CacheManager, worker: str) -> RateController:
    return RateController(
        cache.limits,
        worker=worker,
        defaults={TOTAL: settings.max_rate} if settings.max_rate else {},
    )


def _slot_manager(settings: Settings, cache: CacheManager) -> SlotManager:
    return SlotManager(
        cache.limits,
        per_host_connections=settings.host_connections,
        per_host_downloads=settings.host_downloads,
        per_user_downloads=settings.user_downloads,
        total=TotalLimit(cache.limits, settings.max_downloads),
        ttl=settings.lock_ttl,
    )


def _engine_resources(settings: Settings, instruments: Instruments) -> EngineResources:
    return EngineResources(
        options=TransferOptions(
            connect_timeout=settings.connect_timeout,
            low_speed_time=settings.low_speed_time,
            low_speed_limit=settings.low_speed_limit,
            max_redirects=settings.max_redirects,
            user_agent=settings.user_agent,
            checkpoint_interval=settings.checkpoint_interval,
            min_bytes_per_minute=settings.min_bytes_per_minute,
            max_bytes=settings.max_bytes or None,
            connections=settings.connections,
            short_retries=settings.short_retries,
            proxy=settings.proxy.get_secret_value() if settings.proxy else "",
            netrc=settings.netrc,
            ca_file=settings.ca_file,
        ),
        address_policy=AddressGuard(settings.allowed_networks),
        checkpoint_pool=Threads(
            CHECKPOINT_THREADS, thread_name_prefix="checkpoint", beside_stuck=_BESIDE_STUCK
        ),
        hashing_pool=Threads(
            os.cpu_count() or 1, thread_name_prefix="hashing", beside_stuck=_BESIDE_STUCK
        ),
        parse_file_name=name_from_disposition,
        on_retry=lambda code: instruments.count(TRANSFER_RETRIES, bounded_reason(code)),
    )
