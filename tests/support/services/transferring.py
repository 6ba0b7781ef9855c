"""Runs downloads and watches their byte counts: as jobs of the service, or as bare transfers.

Every way to end is checked for what must never be: a wrong file under a final name, or a counter that
passes the total.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from domain.errors import SeenError
from domain.files import WORKING_PREFIX
from domain.job import Job, JobStatus
from tests.support.build import new_job
from tests.support.faults.aging import age_jobs
from tests.support.services.running import run_download
from tests.support.services.system import System
from worker.leases.drain import Drain
from worker.leases.lease import Lease
from worker.leases.stop_signal import StopSignal
from worker.loop.calls import CallThreads
from worker.loop.folder_threads import FolderThreads
from worker.loop.job_disk import JobDisk
from worker.progress.reporter import DownloadTracker, ProgressReporter
from worker.storage.disk_space import DiskSpace
from worker.storage.filenames import name_from_disposition
from worker.storage.part_file import PartFile
from worker.transfer.engine import Transfer
from worker.transfer.http.address_guard import AddressGuard
from worker.transfer.interfaces import (
    EngineResources,
    TransferOptions,
    TransferQuota,
    TransferSpec,
    UnlimitedQuota,
)
from worker.transfer.output_file import TransferResult

#: Small pieces, short pauses: what a transfer does in minutes, it does here in a second.
QUICK = TransferOptions(
    connect_timeout=2,
    low_speed_time=10,
    low_speed_limit=1000,
    max_redirects=5,
    user_agent="test",
    checkpoint_interval=0.05,
    connections=4,
    min_segment_size=32 * 1024,
    split_after=0.02,
    short_retries=0,
    retry_pause=0.02,
)


class WatchedTracker(DownloadTracker):
    """Records every count that is more than the total in the same record."""

    overshoots: list[tuple[int, int]]

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "counts" and value.total is not None:
            count = max(value.downloaded, value.durable)
            if count > value.total:
                self.__dict__.setdefault("overshoots", []).append((count, value.total))


class WatchingReporter(ProgressReporter):
    """Reports as ever, and keeps the trackers, which are watched ones."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.watched: list[WatchedTracker] = []
        self._thread.start()

    def track(self, job: Job, stop: StopSignal, lease: Lease | None = None) -> DownloadTracker:
        """Begin to report one claimed job."""
        tracker = WatchedTracker(job, stop, time.monotonic(), lease)
        self.watched.append(tracker)
        with self._mutex:
            self._trackers[job.id] = tracker
        return tracker


def overshoots(tracker: DownloadTracker) -> list[tuple[int, int]]:
    """Return the (count, total) pairs in which a count was more than the total."""
    found: list[tuple[int, int]] = getattr(tracker, "overshoots", [])
    return found


class Downloads:
    """Runs jobs of a system in this thread, with options of the transfer that no setting has.

    Args:
        options: changes to `QUICK`.
    """

    def __init__(self, system: System, **options: Any) -> None:
        self.system = system
        self._reporter = WatchingReporter(
            system.runtime.flusher_cache.download, flush_interval=0.02, heartbeat_interval=0.5
        )
        self._paths: set[str | None] = set()
        self.runtime = replace(
            system.runtime,
            reporter=self._reporter,
            engine=replace(system.runtime.engine, options=replace(QUICK, **options)),
        )

    def run(self, url: str, *, attempts: int = 1, **fields: Any) -> Job:
        """Submit and run a job, at once again while it waits and has attempts left; return its row."""
        job = self.system.submit(url, **fields)
        run_download(self.runtime, job.id)
        for _ in range(attempts - 1):
            if self.system.job(job).status is not JobStatus.WAITING:
                break
            self.run_again(job)
        return self.check(job)

    def run_submitted(self, job: Job) -> None:
        """Run a job that was submitted."""
        run_download(self.runtime, job.id)

    def run_again(self, job: Job) -> Job:
        """Run a waiting job as if its time had come."""
        self.make_due()
        self.runtime.cache.limits.end_cooldown(job.host or "")
        run_download(self.runtime, job.id)
        return self.check(job)

    def make_due(self) -> None:
        """Let the time of every waiting job have come."""
        age_jobs(self.system)
        assert self.runtime.jobs.requeue_due(self.runtime.now())

    def check(self, job: Job) -> Job:
        """Return the job's row; fail where something is that must never be."""
        row = self.system.job(job)
        passed = [pair for tracker in self._reporter.watched for pair in overshoots(tracker)]
        assert passed == [], "counters passed the total"
        self._paths.add(row.path)
        stray = [path for path in self.published() if str(path) not in self._paths]
        assert stray == [], "a file was published that no job names"
        if row.status is JobStatus.COMPLETED:
            assert row.path is not None
            assert _sha256(Path(row.path)) == row.sha256, "the job names another digest"
            assert row.bytes_downloaded == row.bytes_total == Path(row.path).stat().st_size
        return row

    def published(self) -> list[Path]:
        """Return the files that have a final name."""
        files = (path for path in self.system.downloads.rglob("*") if path.is_file())
        return [path for path in files if not path.name.startswith(WORKING_PREFIX)]

    def close(self) -> None:
        """Stop reporting."""
        self._reporter.close()


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@contextmanager
def transfer_pools(disk_threads: int = 4) -> Iterator[dict[str, Any]]:
    """The thread pools of transfers: `disk_threads`, and two of `EngineResources`."""
    disk = FolderThreads(CallThreads(disk_threads, "disk"))
    with (
        ThreadPoolExecutor(1, "checkpoint") as checkpoint,
        ThreadPoolExecutor(1, "hashing") as hashing,
        ExitStack() as stack,
    ):
        stack.callback(disk.shutdown)
        yield {"disk_threads": disk, "checkpoint_pool": checkpoint, "hashing_pool": hashing}


@dataclass
class Direct:
    """A transfer without queue, database or store, into `folder`.

    Attributes:
        check_may_write: asked before every write.
        quota: what it may use of what is shared.
        space: of the volume.
        notes: its notes in the job's history.
        tracker: of the last run.
        pools: shared with other transfers; its own by default.
        part_type: of the part file.
    """

    folder: Path
    options: TransferOptions = QUICK
    networks: tuple[str, ...] = ("127.0.0.0/8",)
    job: Job = field(default_factory=new_job)
    check_may_write: Callable[[], None] = lambda: None
    quota: TransferQuota = field(default_factory=UnlimitedQuota)
    space: DiskSpace = field(default_factory=lambda: DiskSpace(0))
    notes: list[str] = field(default_factory=list)
    tracker: WatchedTracker | None = None
    pools: dict[str, Any] | None = None
    part_type: type[PartFile] = PartFile

    @asynccontextmanager
    async def transfer(self, order: TransferSpec) -> AsyncIterator[Transfer]:
        """Open the part file and a transfer into it, as one attempt does."""
        self.tracker = WatchedTracker(self.job, StopSignal(Drain()), time.monotonic())
        with ExitStack() as stack:
            pools = self.pools or stack.enter_context(transfer_pools())
            part = stack.enter_context(self.part_type(self.folder, self.job.id, space=self.space))
            async with Transfer(
                order,
                part,
                self.tracker,
                resources=EngineResources(
                    options=self.options,
                    address_policy=AddressGuard(self.networks),
                    parse_file_name=name_from_disposition,
                    on_retry=lambda _: None,
                    checkpoint_pool=pools["checkpoint_pool"],
                    hashing_pool=pools["hashing_pool"],
                ),
                disk=JobDisk(pools["disk_threads"], str(self.folder)),
                check_may_write=self.check_may_write,
                quota=self.quota,
                add_note=self.notes.append,
            ) as transfer:
                yield transfer

    def fetch(self, *urls: str, **order: Any) -> TransferResult:
        """Run one attempt; what it fetched is then in `data`. Raises what the transfer raises."""
        try:
            fetched, digest = asyncio.run(self.run(TransferSpec(urls=urls, **order)))
        finally:
            # Also of an attempt that failed: its counters were shown to people as well.
            assert self.tracker is not None
            assert overshoots(self.tracker) == [], "counters passed the total"
        assert digest == hashlib.sha256(self.data).hexdigest()
        return fetched

    async def run(self, order: TransferSpec) -> tuple[TransferResult, str]:
        """Run one attempt on the running event loop; return what it fetched and its SHA-256."""
        async with self.transfer(order) as transfer:
            fetched = await transfer.run()
            return fetched, (await transfer.digests(lambda: None))["sha256"]

    async def _run(self, order: TransferSpec) -> TransferResult:
        async with self.transfer(order) as transfer:
            return await transfer.run()

    def fetch_end(self, url: str, first: int) -> bytes:
        """Run one attempt without computing digests; return the file's bytes from `first` on."""
        asyncio.run(self._run(TransferSpec(urls=(url,))))
        with self.part.open("rb") as file:
            file.seek(first)
            return file.read()

    def fetch_size(self, *urls: str, **order: Any) -> int:
        """Run one attempt, however large the file; return its size, which is not read back."""
        return asyncio.run(self._run(TransferSpec(urls=urls, **order))).size

    def failure(self, *urls: str, **order: Any) -> str:
        """Run one attempt that fails; return its code."""
        try:
            self.fetch(*urls, **order)
        except SeenError as error:
            return error.code
        raise AssertionError("the transfer did not fail")

    @property
    def part(self) -> Path:
        """The part file."""
        return self.folder / f"{WORKING_PREFIX}{self.job.id}.part"

    @property
    def checkpoint(self) -> Path:
        """The checkpoint beside it."""
        return self.part.with_suffix(".json")

    @property
    def kept(self) -> list[tuple[int, int]]:
        """The intervals of the file that the checkpoint vouches for."""
        return [(start, end) for start, end in json.loads(self.checkpoint.read_text())["written"]]

    @property
    def data(self) -> bytes:
        """What is in the part file."""
        return self.part.read_bytes()
